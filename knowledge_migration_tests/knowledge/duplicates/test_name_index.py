"""Names in memory: the search finds what comparing with each name finds; blocks are added to, replaced and dropped."""

from hypothesis import given
from hypothesis import strategies as st

from knowledge_migration.knowledge.duplicates.name_index import HeldName, NameIndex, neighbours
from knowledge_migration.knowledge.duplicates.names import Spelling

NAMES = st.text(max_size=20) | st.text(alphabet="ab1 -+", max_size=12)
SCORE = 0.7


def index_of(**names: str) -> NameIndex:
    """An index of names by ids that are written as `_1`."""
    return NameIndex({}).with_rows(HeldName(int(id[1:]), name, 1) for id, name in names.items())


def found(index: NameIndex, name: str, most: int = 100) -> list[int]:
    """The ids that a search returns."""
    return index.search(Spelling(name), score_from=SCORE, most=most)


@given(st.dictionaries(st.integers(1, 5_000), NAMES, max_size=12), NAMES)
def test_the_search_finds_what_comparing_with_each_name_finds(names: dict[int, str], wanted: str) -> None:
    index = NameIndex({}).with_rows(HeldName(id, name, 0) for id, name in names.items())
    expected = {id for id, name in names.items() if Spelling(wanted).score(Spelling(name)) >= SCORE}
    assert expected <= set(found(index, wanted))


def test_the_best_are_returned_first_and_no_more_than_wanted() -> None:
    index = index_of(_1="Kubernets", _2="Kubernetes", _3="Gardening", _4="kubernetess")
    assert found(index, "KUBERNETES") == [2, 4, 1]
    assert found(index, "KUBERNETES", most=1) == [2]


def test_names_that_marks_tell_apart_do_not_crowd_out_others() -> None:
    releases = {f"_{number}": f"Weekly Newsletter #{number}" for number in range(10, 400)}
    index = index_of(**releases, _5000="Weekly Newsletter")
    assert found(index, "Weekly Newsletter #7", most=1) == [5000]


def test_a_row_that_is_added_again_takes_the_place_of_the_old_one() -> None:
    index = index_of(_1="alpha", _2000="beta").with_rows([HeldName(1, "gamma", 1)])
    assert (found(index, "alpha"), found(index, "gamma"), found(index, "beta"), len(index)) == ([], [1], [2000], 2)


def test_a_block_that_is_replaced_by_nothing_is_gone_and_others_stay() -> None:
    index = index_of(_1="alpha", _2000="beta").with_blocks(range(1), NameIndex({}))
    assert (found(index, "alpha"), found(index, "beta")) == ([], [2000])


def test_an_index_of_nothing_finds_nothing_and_has_seen_no_id() -> None:
    assert found(NameIndex({}), "alpha") == []
    assert NameIndex({}).last_id is None
    assert index_of(_7="a", _3000="b", _2999="c").last_id == 3000


def test_neighbouring_blocks_are_read_together_up_to_a_number() -> None:
    assert neighbours([5, 1, 2, 3, 9], most=2) == [range(1, 3), range(3, 4), range(5, 6), range(9, 10)]
    assert neighbours([]) == []
