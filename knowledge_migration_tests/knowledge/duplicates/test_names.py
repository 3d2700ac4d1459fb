"""The score of two names: what is the same but for case, what is alike, what marks tell apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_migration.knowledge.duplicates.name_index import trigram_keys
from knowledge_migration.knowledge.duplicates.names import Spelling, trigrams

NAMES = st.text(max_size=30) | st.text(alphabet="ab1 -+#É", max_size=12)


def score(one: str, other: str) -> float:
    """The score of two names."""
    return Spelling(one).score(Spelling(other))


@pytest.mark.parametrize(
    ("one", "other"), [("REST API", "rest api"), ("a  b", "A b "), ("Straße", "STRASSE"), ("ДОКЕР", "докер")]
)
def test_names_that_differ_in_case_and_white_space_only_score_just_below_the_exact_name(one: str, other: str) -> None:
    assert score(one, other) == 0.99


@pytest.mark.parametrize(("one", "other"), [("api-rest", "REST API"), ("self-host", "selfhost"), ("Node.js", "nodejs")])
def test_names_of_the_same_words_or_letters_score_below_those(one: str, other: str) -> None:
    assert score(one, other) == 0.98


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("Kubernetes", "Kubernets", 18 / 19), ("wine reg", "wine reg query", 0.6)]
)
def test_the_score_is_the_greater_of_common_trigrams_and_letters(one: str, other: str, expected: float) -> None:
    assert score(one, other) == pytest.approx(expected)


def test_letters_alone_count_from_nine_tenths_only() -> None:
    assert score("basename", "gbasename") == pytest.approx(16 / 17)
    assert score("espcam", "espram") < 0.5  # 83 % of their letters


@pytest.mark.parametrize(("one", "other"), [("C", "C++"), ("C++", "C#"), ("Release 22", "Release 23")])
def test_signs_and_numbers_tell_names_apart(one: str, other: str) -> None:
    assert score(one, other) == 0.0


@pytest.mark.parametrize(("one", "other"), [("#python", "Python"), ("Windows 7", "windows"), ("Go 1.2", "go-1-2")])
def test_a_hashtag_a_number_on_one_side_and_other_separators_tell_nothing_apart(one: str, other: str) -> None:
    assert score(one, other) >= 0.7


@pytest.mark.parametrize("blank", ["", "  ", "\t\n", "\u00a0"])
def test_a_blank_name_is_like_nothing(blank: str) -> None:
    assert score(blank, blank) == score(blank, "a") == score("a", blank) == 0.0


@given(NAMES, NAMES)
def test_the_score_has_no_direction_and_is_never_that_of_the_exact_name(one: str, other: str) -> None:
    assert score(one, other) == score(other, one)
    assert 0 <= score(one, other) <= 0.99


@given(st.lists(NAMES, max_size=8))
def test_the_keys_of_many_names_are_the_trigrams_of_each(names: list[str]) -> None:
    rows, keys = trigram_keys(names)
    for row, name in enumerate(names):
        expected = {
            sum(ord(sign) << shift for sign, shift in zip(gram, (42, 21, 0), strict=True)) for gram in trigrams(name)
        }
        assert set(np.unique(keys[rows == row]).tolist()) == expected
