"""Icons and colours of topics."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge_migration.knowledge.extraction.appearance import DEFAULT_COLOR, DEFAULT_ICON, color_for, icon_for


@pytest.mark.parametrize(
    ("name", "icon"),
    [
        ("postgres backup", "CircleStackIcon"),
        ("Payment Gateways", "CurrencyDollarIcon"),
        ("unit tests", "BeakerIcon"),
        ("channel jamming attacks", "ShieldCheckIcon"),
        ("API", "CodeBracketIcon"),
    ],
)
def test_the_icon_comes_from_the_words_of_the_name(name: str, icon: str) -> None:
    assert icon_for(name) == icon


def test_the_last_word_of_a_name_is_its_head_and_goes_first() -> None:
    assert icon_for("database documentation") == "BookOpenIcon"
    assert icon_for("documentation database") == "CircleStackIcon"


def test_the_description_decides_when_the_name_does_not() -> None:
    assert icon_for("murch", "Fees of a wallet") == "CurrencyDollarIcon"
    assert icon_for("wallet", "A database") == "CurrencyDollarIcon"


def test_a_word_counts_only_as_a_whole() -> None:
    assert icon_for("keyboardless apish") == DEFAULT_ICON


def test_a_topic_of_other_words_has_the_default_icon_and_colour() -> None:
    assert (icon_for("kerbal"), color_for("FolderIcon")) == ("FolderIcon", "#64748B") == (DEFAULT_ICON, DEFAULT_COLOR)


def test_an_unknown_icon_has_the_default_colour() -> None:
    assert color_for("NoSuchIcon") == DEFAULT_COLOR


@given(st.text(), st.text())
def test_any_words_give_an_icon_and_a_colour_that_fit_their_columns(name: str, description: str) -> None:
    icon = icon_for(name, description)
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]{1,45}Icon", icon)
    assert re.fullmatch(r"#[0-9A-F]{6}", color_for(icon))


@pytest.mark.parametrize(
    "word", ["code", "shell", "bug", "oauth", "token", "sql", "docker", "aws", "http", "fee", "css"]
)
def test_each_icon_that_a_word_has_has_a_colour_of_its_own(word: str) -> None:
    assert color_for(icon_for(word)) != DEFAULT_COLOR
