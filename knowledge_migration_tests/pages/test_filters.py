"""The filters of the queue, as the page's address contains them."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from knowledge_migration.pages.review.filters import CHOICES, Filters, read_filters

RUN = "0189d7f0-0000-7000-8000-000000000001"
NOW = datetime(2026, 11, 23, tzinfo=UTC)

TYPED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50).map(str.strip)
ANY_FILTERS = st.builds(
    Filters, *(st.sampled_from(list(choices)) for choices in CHOICES.values()), st.sampled_from(["", RUN]), TYPED
)


@given(ANY_FILTERS)
def test_an_address_restores_the_same_filters(filters: Filters) -> None:
    assert read_filters(dict(parse_qsl(filters.query))) == filters
    filters.wanted(NOW)


@given(st.dictionaries(st.sampled_from(["state", "kind", "confidence", "similar", "age", "run", "text"]), st.text()))
def test_any_address_gives_valid_filters(query: dict[str, str]) -> None:
    read_filters(query).wanted(NOW)


def test_every_filter_reaches_the_list() -> None:
    wanted = Filters("aside", "atom", "0.8-0.95", "no", "over-7", RUN, "disk").wanted(NOW)

    assert wanted.statuses == ("withdrawn", "parked")
    assert wanted.kinds == ("atom",)
    assert wanted.min_confidence == 0.8
    assert wanted.max_confidence is not None
    assert 0.9499 < wanted.max_confidence < 0.95
    assert wanted.similar is False
    assert wanted.created_before == NOW - timedelta(days=7)
    assert wanted.created_after is None
    assert wanted.run_id == UUID(RUN)
    assert wanted.text == "disk"


def test_bands_of_confidence_leave_nothing_out_and_nothing_twice() -> None:
    bands = [Filters(confidence=choice).wanted(NOW) for choice in CHOICES["confidence"] if choice]
    for value in [step / 1_000 for step in range(1_001)]:
        inside = [one for one in bands if one.min_confidence <= value <= one.max_confidence]  # type: ignore[operator]
        assert len(inside) == 1, value
