"""Near duplicates: the measures, the exact count, the bound of work, and what they reach on real topic names."""

import gzip
import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rapidfuzz import fuzz

from knowledge_migration.engine.validation import similarity_join
from knowledge_migration.engine.validation.near_duplicates import NamePair, NearDuplicates, near_duplicates
from knowledge_migration.knowledge.duplicates.names import squeezed, trigrams
from knowledge_migration_tests.conftest import SHARED_DATA

# similarity(a, b) of pg_trgm 1.6 on PostgreSQL 15.
AS_PG_TRGM = [
    ("postgres", "postgresql", 0.6666667),
    ("git commit", "git-commit", 1.0),
    ("API REST", "rest api", 1.0),
    ("C", "C++", 1.0),
    ("++", "--", 0.0),
    ("Café", "cafe", 0.42857143),
    ("Übung macht den Meister", "übung", 0.26086956),
    ("a b c", "a b d", 0.5),
    ("foo_bar", "foo bar", 1.0),
    ("数据库", "数据", 0.4),
    ("docker", "doc", 0.375),
    ("Kubernetes", "Kubernets", 0.61538464),
    ("wine reg", "wine reg query", 0.6),
]


def compare(*names: str, percent: float = 60.0, sample: int = 100) -> NearDuplicates:
    """The near duplicates of these names, whose ids count from 1."""
    return near_duplicates(list(enumerate(names, start=1)), similarity_percent=percent, sample=sample)


def named(outcome: NearDuplicates) -> list[tuple[str, str, float]]:
    """The pairs without their ids."""
    return [(pair.name, pair.other_name, pair.similarity_percent) for pair in outcome.pairs]


def trigram_similarity(one: str, other: str) -> float:
    """The similarity of two names by trigrams alone, 0 to 1."""
    return share_of(trigrams(one), trigrams(other))


def share_of(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared trigrams of all trigrams, written down as plainly as possible."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0


def shared_names(size: str) -> list[tuple[int, str]]:
    """The real topic names of a sample; skips where it is not at hand."""
    path = SHARED_DATA / size / "topics.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [(row["id"], row["name"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize(("one", "other", "expected"), AS_PG_TRGM)
def test_trigrams_are_counted_as_pg_trgm_counts_them(one: str, other: str, expected: float) -> None:
    assert trigram_similarity(one, other) == pytest.approx(expected, abs=1e-7)


def test_a_pair_is_reported_once_with_both_names_and_its_similarity() -> None:
    outcome = compare("Kubernetes", "Gardening", "Kubernets")
    assert outcome == NearDuplicates(1, 3, (NamePair(1, "Kubernetes", 3, "Kubernets", 94.7),))


def test_a_pair_that_reaches_the_percent_exactly_is_reported() -> None:
    assert named(compare("wine reg", "wine reg query", percent=60.0)) == [("wine reg", "wine reg query", 60.0)]
    assert compare("wine reg", "wine reg query", percent=60.01).count == 0


def test_names_that_differ_in_case_and_white_space_only_are_entirely_similar() -> None:
    assert named(compare("Message Queue", " message\t QUEUE ")) == [("Message Queue", " message\t QUEUE ", 100.0)]


def test_spelling_finds_what_trigrams_do_not() -> None:
    assert trigram_similarity("self-host", "selfhost") < 0.6
    assert named(compare("self-host", "selfhost")) == [("self-host", "selfhost", 100.0)]


def test_spelling_alone_counts_from_90_percent_only() -> None:
    assert trigram_similarity("esp32c3", "esp32s3") < 0.6
    assert compare("esp32c3", "esp32s3").count == 0  # 85.7 % of their letters
    assert compare("basename", "gbasename").count == 1  # 94.1 %


def test_no_pair_below_the_wanted_percent_is_reported() -> None:
    assert compare("basename", "gbasename", percent=95.0).count == 0


def test_names_without_letters_or_digits_are_compared_as_they_are() -> None:
    assert named(compare("++", "--", "+ +", "++ ")) == [("++", "++ ", 100.0)]


def test_nothing_is_found_among_no_name_or_one() -> None:
    assert compare() == NearDuplicates(0, 0, ())
    assert compare("Alone") == NearDuplicates(0, 0, ())


def test_the_count_is_exact_and_the_sample_is_the_most_similar_ones() -> None:
    names = ["Release notes", "Release note", "release notes", "Release notes!"]
    outcome = compare(*names, sample=2)
    assert (outcome.count, outcome.compared) == (6, 6)
    assert [(pair.id, pair.other_id) for pair in outcome.pairs] == [(1, 3), (1, 4)]


def all_pairs(names: list[str], percent: float) -> set[tuple[str, str, float]]:
    """The pairs that comparing each name with each other one finds."""
    pairs = set()
    for one, other in itertools.combinations(names, 2):
        letters = fuzz.ratio(squeezed(one), squeezed(other), score_cutoff=max(percent, 90))
        similarity = max(100 * trigram_similarity(one, other), letters)
        if similarity >= percent:
            pairs.add((one, other, round(similarity, 1)))
    return pairs


WORDS = st.sampled_from(["post", "gres", "sql", "-", " ", "#1", "数据库", "İ"])
LONG = "kubernetes operators"
CUT = st.sets(st.integers(0, len(LONG)), max_size=3).map(
    lambda cuts: "".join(letter for at, letter in enumerate(LONG) if at not in cuts)
)
NAMES = st.lists(st.lists(WORDS | st.text("ab", max_size=9), max_size=9).map("".join) | CUT, max_size=30, unique=True)


@given(NAMES, st.sampled_from([25.0, 60.0, 85.0, 92.5, 100.0]))
@example(["", " ", "a", "b"], 60.0)
def test_the_pairs_are_those_that_comparing_all_names_finds(names: list[str], percent: float) -> None:
    outcome = compare(*names, percent=percent, sample=1_000)
    assert set(named(outcome)) == all_pairs(names, percent)
    assert (outcome.count, outcome.left_out) == (len(outcome.pairs), 0)


@pytest.mark.parametrize("at_once", [1, 40])
@pytest.mark.parametrize("held", ["CANDIDATES_AT_ONCE", "NAMES_AT_ONCE", "COMPARED_AT_ONCE"])
def test_how_much_is_held_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch, held: str, at_once: int) -> None:
    names = [f"{word} {number}" for word in ("alpha", "alphabet", "beta") for number in range(12)]
    whole = compare(*names, sample=10_000)
    monkeypatch.setattr(similarity_join, held, at_once)
    assert compare(*names, sample=10_000) == whole
    assert whole.count == len(whole.pairs) > 12


def test_progress_names_what_has_been_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_join, "CANDIDATES_AT_ONCE", 1)
    said: list[str] = []
    topics = [(number, f"alpha {number}") for number in range(100)]
    near_duplicates(topics, similarity_percent=60, sample=1, progress=said.append)
    assert said[-1] == "compared the letters of 100 % of 100 topic names"
    assert "compared the trigrams of 30 % of 100 topic names" in said
    assert len(said) < 30


@pytest.mark.parametrize("limits", [{"CANDIDATES_PER_NAME": 8}, {"PAIRS_PER_NAME": 5, "PAIRS_IN_ANY_CASE": 0}])
def test_where_all_names_are_alike_each_is_compared_with_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    for name, most in {"CANDIDATES_AT_ONCE": 1, **limits}.items():
        monkeypatch.setattr(similarity_join, name, most)
    names = [f"Weekly Newsletter #{number}" for number in range(400)]
    outcome = compare(*names, sample=10_000)
    assert len(names) < outcome.count <= 16 * len(names)
    assert outcome.left_out > 50_000
    assert len({pair.name for pair in outcome.pairs} | {pair.other_name for pair in outcome.pairs}) > 390


def test_real_names_every_trigram_pair_is_reached_with_few_others() -> None:
    """288 pairs have similarity 0.6 or more in pg_trgm; 314 are reported."""
    topics = shared_names("small")
    outcome = near_duplicates(topics, similarity_percent=60, sample=1_000)
    forms = [(id, trigrams(name)) for id, name in topics]
    wanted = {
        (one_id, other_id)
        for (one_id, one), (other_id, other) in itertools.combinations(forms, 2)
        if share_of(one, other) >= 0.6
    }
    reported = {(pair.id, pair.other_id) for pair in outcome.pairs}
    assert (len(wanted), outcome.count, len(reported)) == (288, 314, 314)
    assert wanted <= reported


def test_real_names_most_pairs_are_not_even_candidates() -> None:
    topics = shared_names("large")
    assert near_duplicates(topics, similarity_percent=60, sample=20).count == 3_777
    for share in (1, 4):
        names = [trigrams(name) for _, name in topics[:: 4 // share]]
        candidates = sum(len(pairs.one) for pairs in similarity_join.TrigramSets.of(names).similar(0.6))
        assert candidates < len(names)
    letters = sum(len(pairs.one) for pairs in similarity_join.by_letters([squeezed(name) for _, name in topics], 0.9))
    assert letters < 5 * len(topics)
