"""Which existing topic or atom is named for a candidate, and by which tier."""

import pytest
import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import Candidate, Similar
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC
from knowledge_migration_tests.knowledge.duplicates.rows import add_atom, add_topic, direction


def topic_like(session: sa.Connection, *names: str) -> list[Similar | None]:
    """What a new finder says to topics of these names."""
    return DuplicateFinder().similar(session, TOPIC, [Candidate(name, "") for name in names])


def test_the_same_name_is_exact(session: sa.Connection) -> None:
    id = add_topic(session, "Message Queue")
    assert topic_like(session, "Message Queue") == [Similar(id, 1.0, "exact")]


def test_the_same_name_in_another_case_is_spelling(session: sa.Connection) -> None:
    id = add_topic(session, "Message Queue")
    assert topic_like(session, " message  QUEUE") == [Similar(id, 0.99, "spelling")]


def test_the_exact_name_goes_before_one_of_another_case(session: sa.Connection) -> None:
    add_topic(session, "message queue")
    exact = add_topic(session, "Message Queue")
    assert topic_like(session, "Message Queue") == [Similar(exact, 1.0, "exact")]


def test_of_several_alike_the_most_alike_is_named_then_the_oldest(session: sa.Connection) -> None:
    add_topic(session, "Kubernets")
    older = add_topic(session, "kubernetes")
    add_topic(session, "KUBERNETES")
    assert topic_like(session, "Kubernetes") == [Similar(older, 0.99, "spelling")]


def test_what_is_less_alike_than_the_score_is_not_named(session: sa.Connection) -> None:
    add_topic(session, "wine reg query")
    assert topic_like(session, "wine reg") == [None]


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_name_is_similar_to_nothing_even_where_one_exists(session: sa.Connection, blank: str) -> None:
    add_topic(session, blank)
    assert topic_like(session, blank) == [None]


@pytest.mark.parametrize(
    ("existing", "proposed"),
    [
        ("数据库设计", "数据库设计!"),
        ("Базы данных", "базы-данных"),
        ("קוד פתוח", "קוד  פתוח"),
        ("🚀 Launch", "launch 🚀"),
    ],
)
def test_names_of_any_script_are_found(session: sa.Connection, existing: str, proposed: str) -> None:
    id = add_topic(session, existing)
    [similar] = topic_like(session, proposed)
    assert similar
    assert (similar.entity_id, similar.type) == (id, "spelling")


def test_a_name_that_looks_like_sql_is_only_a_name(session: sa.Connection) -> None:
    id = add_topic(session, "100% '; DROP :table --")
    assert topic_like(session, "100% '; DROP :table --") == [Similar(id, 1.0, "exact")]


def test_each_candidate_of_a_batch_gets_its_own_answer_in_order(session: sa.Connection) -> None:
    queue, rest = add_topic(session, "Message Queue"), add_topic(session, "REST API")
    assert topic_like(session, "rest-api", "Gardening", "", "Message Queue", "rest-api") == [
        Similar(rest, 0.98, "spelling"),
        None,
        None,
        Similar(queue, 1.0, "exact"),
        Similar(rest, 0.98, "spelling"),
    ]


def test_no_candidates_get_no_answers(session: sa.Connection) -> None:
    assert DuplicateFinder().similar(session, TOPIC, []) == []
    assert DuplicateFinder().similar(session, ATOM, []) == []


def test_an_empty_database_has_nothing_similar(session: sa.Connection) -> None:
    assert topic_like(session, "Message Queue") == [None]


def test_a_topic_is_never_similar_to_an_atom(session: sa.Connection) -> None:
    add_atom(session, "Message Queue")
    assert topic_like(session, "Message Queue") == [None]


def test_of_atoms_of_one_title_the_one_of_the_same_content_is_named_then_the_oldest(session: sa.Connection) -> None:
    oldest, same = add_atom(session, "Restart", "one"), add_atom(session, "Restart", "two")
    add_atom(session, "Restart", "two")
    found = DuplicateFinder().similar(session, ATOM, [Candidate("Restart", "two"), Candidate("Restart", "three")])
    assert found == [Similar(same, 1.0, "exact"), Similar(oldest, 1.0, "exact")]


def test_titles_of_atoms_must_be_more_alike_than_names_of_topics(session: sa.Connection) -> None:
    add_atom(session, "This command is an alias of jira open")
    add_topic(session, "This command is an alias of jira open")
    title = "This command is an alias of jira sprint"
    assert DuplicateFinder().similar(session, ATOM, [Candidate(title, "")]) == [None]
    assert topic_like(session, title) != [None]


def test_the_nearest_embedding_is_meaning_on_the_scale_of_the_application(session: sa.Connection) -> None:
    add_atom(session, "Orthogonal", embedding=direction(0, 1))
    near = add_atom(session, "Near", embedding=direction(0.95, 0.3122499))
    add_atom(session, "Without")
    candidate = Candidate("Something else", "", direction(1))
    [similar] = DuplicateFinder().similar(session, ATOM, [candidate])
    assert similar == Similar(near, pytest.approx(0.975), "meaning")


def test_an_embedding_that_is_not_near_enough_is_not_named(session: sa.Connection) -> None:
    add_atom(session, "Orthogonal", embedding=direction(0, 1))
    assert DuplicateFinder().similar(session, ATOM, [Candidate("Other", "", direction(1))]) == [None]


@pytest.mark.parametrize("vector", [direction(0), direction(1)])
def test_a_vector_of_zeros_is_near_to_nothing(session: sa.Connection, vector: list[float]) -> None:
    add_atom(session, "Zeros", embedding=direction(0))
    assert DuplicateFinder().similar(session, ATOM, [Candidate("Other", "", vector)]) == [None]


def test_spelling_goes_before_meaning_and_a_candidate_without_an_embedding_has_none(session: sa.Connection) -> None:
    spelled = add_atom(session, "Restart the server")
    add_atom(session, "Boot again", embedding=direction(1))
    found = DuplicateFinder().similar(
        session, ATOM, [Candidate("restart the server", "", direction(1)), Candidate("Switch off and on", "")]
    )
    assert found == [Similar(spelled, 0.99, "spelling"), None]


def test_an_embedding_of_other_dimensions_is_refused(session: sa.Connection) -> None:
    with pytest.raises(ValueError, match="3 dimensions, those of atoms have 1536"):
        DuplicateFinder().similar(session, ATOM, [Candidate("Title", "", [1.0, 0.0, 0.0])])
