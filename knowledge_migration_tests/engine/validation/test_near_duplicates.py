"""Near duplicates: the measures, the exact count over blocks, and what they reach on real topic names."""

import gzip
import itertools
import json
import time

import pytest

from knowledge_migration.engine.validation import near_duplicates as module
from knowledge_migration.engine.validation.near_duplicates import NamePair, NearDuplicates, near_duplicates, trigrams
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


@pytest.mark.parametrize("cells", [1, 40, 2_000_000])
def test_the_blocks_in_which_names_are_compared_change_nothing(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    names = [f"{word} {number}" for word in ("alpha", "alphabet", "beta") for number in range(12)]
    whole = compare(*names, sample=10_000)
    monkeypatch.setattr(module, "CELLS_AT_ONCE", cells)
    assert compare(*names, sample=10_000) == whole
    assert whole.count == len(whole.pairs) > 12


def test_progress_names_what_has_been_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS_AT_ONCE", 6)
    said: list[str] = []
    near_duplicates([(1, "a"), (2, "b"), (3, "c")], similarity_percent=60, sample=1, progress=said.append)
    assert said == ["compared 2 of 3 topic names", "compared 3 of 3 topic names"]


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


def test_real_names_ten_thousand_are_compared_in_seconds() -> None:
    topics = shared_names("large")
    began = time.process_time()
    outcome = near_duplicates(topics, similarity_percent=60, sample=20)
    assert time.process_time() - began < 60  # CPU seconds: other work on the machine does not count
    assert (outcome.count, len(outcome.pairs)) == (3_777, 20)
