"""What reviewers decide: every transition, exactly one row, relations in any order, two at once, and the way back."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from psycopg.rows import tuple_row

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.decisions import FUNCTIONS
from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.errors import ConflictError, InvalidError, UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.proposals import auto_approval, listing, review, undo
from knowledge_migration.knowledge.proposals.review import Decision, Reviewer
from knowledge_migration_tests.engine.backfill.backfilling import backfill, count
from knowledge_migration_tests.knowledge.conftest import ServiceMaker, atom, topic

ME = Reviewer("a test", 1, "looks right")
PROPOSAL = Flags(enabled=True, cutover_percentage=100)

FOUND = Extraction(
    topics=(topic("backups", 0.6, (1, 2)),),
    atoms=(
        atom("restore them", "backups", 0.6, links_to_atom_titles=("test them",), link_types=("supports",)),
        atom("test them", "backups", 0.6),
    ),
)


@pytest.fixture
def proposed(make_service: ServiceMaker, rows: Connection) -> dict[str, UUID]:
    """One topic and two linked atoms, all waiting; by name."""
    return propose(make_service, rows, FOUND)


def propose(make_service: ServiceMaker, rows: Connection, found: Extraction) -> dict[str, UUID]:
    async def inside() -> Any:
        service = make_service(found, initial_flags=PROPOSAL)
        async with service.running():
            return await service.extract((1, 2, 3), 1)

    written = asyncio.run(inside())
    names = [one.name for one in found.topics] + [one.title for one in found.atoms]
    return dict(zip(names, (*written.proposed.topic_proposal_ids, *written.proposed.atom_proposal_ids), strict=True))


def decide(database: Database, action: Callable[..., Decision], *args: Any, **more: Any) -> Decision:
    with database.begin() as transaction:
        return action(transaction, *args, ME, **more)


def table(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    with connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query).fetchall()


RELATIONS = (
    "SELECT t.name, a.title FROM topic_atoms JOIN topics t ON t.id = topic_id JOIN atoms a ON a.id = atom_id ORDER BY 2"
)
LINKS = "SELECT f.title, t.title, link_type FROM atom_links JOIN atoms f ON f.id = from_atom_id JOIN atoms t ON t.id = to_atom_id"


@pytest.mark.parametrize("order", list(itertools.permutations(["backups", "restore them", "test them"])))
def test_every_order_of_approving_ends_in_the_same_relations(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], order: tuple[str, ...]
) -> None:
    for name in order:
        decision = decide(peopled, review.approve, proposed[name])
        assert (decision.status, decision.changed) == ("approved", True)
    assert table(rows, RELATIONS) == [("backups", "restore them"), ("backups", "test them")]
    assert table(rows, LINKS) == [("restore them", "test them", "supports")]
    assert table(rows, "SELECT id FROM messages WHERE topic_id = 1 ORDER BY id") == [(1,), (2,)]
    assert table(rows, "SELECT DISTINCT user_approved FROM atoms") == [(True,)]
    assert_all_rules(rows)


STRANDED = "no_pending_proposal_is_stranded"  # proposals are on wherever they are reviewed


def assert_all_rules(rows: Connection) -> None:
    elsewhere = {"migration_run_is_completed", "every_topic_has_a_proposal", "every_atom_has_a_proposal"}
    asked = [rule for rule in rules.RULES if rule.name not in elsewhere and rule.file != STRANDED]
    broken = [rule.name for rule in asked if not rules.evaluate(rows, rule).passed]
    assert broken == []


def test_a_decision_is_audited_with_its_reviewer(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.approve, proposed["backups"])
    assert table(
        rows, "SELECT reviewed_by_user_id, review_notes, review_action, reviewed_at IS NOT NULL FROM topic_proposals"
    ) == [(1, "looks right", "approve", True)]
    assert table(
        rows,
        "SELECT actor, action, before ->> 'status', after ->> 'status', reason FROM migration.audit_log ORDER BY id DESC LIMIT 1",
    ) == [("a test, user 1", "approve proposal", "pending", "approved", "looks right")]


def test_a_topic_of_exactly_that_name_is_linked_and_stays_as_it_is(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('backups', 'older')")
    decision = decide(peopled, review.approve, proposed["backups"])
    decide(peopled, review.approve, proposed["test them"])
    assert decision.entity_id == 1
    assert table(rows, "SELECT name, description, migrated_from_proposal_id FROM topics") == [
        ("backups", "older", None)
    ]
    assert table(rows, "SELECT status, similarity_type, similar_topic_id, entity_id FROM topic_proposals") == [
        ("approved", "exact", 1, None)
    ]
    assert table(rows, RELATIONS) == [("backups", "test them")]


def test_an_atom_of_exactly_that_text_is_linked(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'test them', 'what test them says', false)"
        ", ('insight', 'restore them', 'another text', false)"
    )
    assert decide(peopled, review.approve, proposed["test them"]).entity_id == 1
    assert decide(peopled, review.approve, proposed["restore them"]).entity_id == 3


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ("approve", "approve", "approved"),
        ("approve", "reject", None),
        ("approve", "merge", None),
        ("approve", "undo", "pending"),
        ("reject", "reject", "rejected"),
        ("reject", "approve", None),
        ("reject", "merge", None),
        ("reject", "undo", "pending"),
        ("merge", "merge", "merged"),
        ("merge", "approve", None),
        ("merge", "reject", None),
        ("merge", "undo", "pending"),
        ("undo", "undo", "pending"),
        ("undo", "approve", "approved"),
    ],
)
def test_each_transition_is_allowed_or_refused(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], first: str, then: str, expected: str | None
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', '')")

    def do(action: str) -> Decision:
        if action == "merge":
            return decide(peopled, review.merge, proposed["backups"], 1)
        return decide(peopled, FUNCTIONS[action], proposed["backups"])

    do(first)
    if expected is None:
        before = table(rows, "SELECT * FROM topic_proposals")
        with pytest.raises(ConflictError):
            do(then)
        assert table(rows, "SELECT * FROM topic_proposals") == before
    else:
        decision = do(then)
        assert (decision.status, decision.changed) == (expected, first != then)
    assert_all_rules(rows)


def test_an_undone_approval_can_be_approved_again(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.approve, proposed["backups"])
    decide(peopled, undo.undo, proposed["backups"])
    assert count(rows, "SELECT count(*) FROM topics") == 0
    assert count(rows, "SELECT count(*) FROM messages WHERE topic_id IS NOT NULL") == 0
    assert decide(peopled, review.approve, proposed["backups"]).status == "approved"


@pytest.mark.parametrize(
    "referring",
    [
        "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'other', '', false); "
        "INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1, max(id) FROM atoms",
        "UPDATE messages SET topic_id = 1 WHERE id = 50",
    ],
)
def test_a_topic_that_somebody_edited_or_refers_to_stays_as_it_is(
    peopled: Database, rows: Connection, proposed: dict[str, UUID], referring: str
) -> None:
    decide(peopled, review.approve, proposed["backups"])
    rows.execute(referring)
    with pytest.raises(ConflictError, match="refers to it"):
        decide(peopled, undo.undo, proposed["backups"])
    rows.execute("UPDATE topics SET description = 'edited' WHERE id = 1")
    with pytest.raises(ConflictError, match="has changed its description"):
        decide(peopled, undo.undo, proposed["backups"])
    assert table(rows, "SELECT description FROM topics") == [("edited",)]


def test_an_atom_that_another_links_to_stays(peopled: Database, rows: Connection, proposed: dict[str, UUID]) -> None:
    for name in ("test them", "restore them"):
        decide(peopled, review.approve, proposed[name])
    with pytest.raises(ConflictError, match="atom 2 refers to it"):
        decide(peopled, undo.undo, proposed["test them"])
    assert decide(peopled, undo.undo, proposed["restore them"]).status == "pending"
    assert decide(peopled, undo.undo, proposed["test them"]).status == "pending"
    assert_all_rules(rows)


def test_a_merge_takes_over_relations_and_its_undo_removes_only_those(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', '')")
    for name in ("restore them", "test them"):
        decide(peopled, review.approve, proposed[name])
    rows.execute("INSERT INTO topic_atoms (topic_id, atom_id) SELECT 1, id FROM atoms WHERE title = 'test them'")
    decide(peopled, review.merge, proposed["backups"], 1)
    assert table(rows, RELATIONS) == [("target", "restore them"), ("target", "test them")]
    decide(peopled, undo.undo, proposed["backups"])
    assert table(rows, RELATIONS) == [("target", "test them")]


def test_what_does_not_exist_is_told(peopled: Database, proposed: dict[str, UUID]) -> None:
    with pytest.raises(UnknownError, match="no topic 77"):
        decide(peopled, review.merge, proposed["backups"], 77)
    with pytest.raises(UnknownError, match="no proposal"):
        decide(peopled, review.approve, uuid4())
    with peopled.begin() as transaction, pytest.raises(UnknownError, match="no user 999"):
        review.approve(transaction, proposed["backups"], Reviewer("a test", 999))


def test_a_row_from_before_the_proposals_is_never_changed_or_removed(peopled: Database, rows: Connection) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('legacy', 'as it was')")
    backfill(peopled)
    (key,) = table(rows, "SELECT id FROM topic_proposals")[0]
    rows.execute("UPDATE topics SET description = 'edited'")
    with pytest.raises(ConflictError, match="existed before this proposal"):
        decide(peopled, undo.undo, key)
    assert table(rows, "SELECT name, description FROM topics") == [("legacy", "edited")]


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """All begin together; what each returned or raised."""
    results: list[Any] = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run(place: int) -> None:
        barrier.wait()
        try:
            results[place] = works[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_many_reviewers_of_one_proposal_make_one_row(
    peopled: Database, rows: Connection, proposed: dict[str, UUID]
) -> None:
    results = at_once(*[lambda: decide(peopled, review.approve, proposed["backups"])] * 8)
    assert sorted(one.changed for one in results) == [False] * 7 + [True]
    assert count(rows, "SELECT count(*) FROM topics") == 1


def test_topic_and_atoms_approved_at_once_miss_no_relation(
    peopled: Database, rows: Connection, make_service: ServiceMaker
) -> None:
    for _ in range(8):
        proposed = propose(make_service, rows, FOUND)
        results = at_once(*[lambda key=key: decide(peopled, review.approve, key) for key in proposed.values()])
        assert all(isinstance(one, Decision) for one in results), results
        assert table(rows, RELATIONS) == [("backups", "restore them"), ("backups", "test them")]
        rows.execute("DELETE FROM topic_atoms; DELETE FROM atom_links; DELETE FROM atoms")
        rows.execute("UPDATE messages SET topic_id = NULL; DELETE FROM topics")


def test_two_proposals_of_one_name_make_one_topic(
    peopled: Database, rows: Connection, make_service: ServiceMaker
) -> None:
    keys = [propose(make_service, rows, FOUND)["backups"] for _ in range(6)]
    results = at_once(*[lambda key=key: decide(peopled, review.approve, key) for key in keys])
    assert {one.entity_id for one in results} == {results[0].entity_id}
    assert count(rows, "SELECT count(*) FROM topics") == 1
    assert_all_rules(rows)


def test_the_auto_approval_job_approves_what_is_eligible_only(
    peopled: Database, rows: Connection, make_service: ServiceMaker
) -> None:
    names = ("sure", "release note", "unsure")
    found = Extraction(topics=tuple(topic(name, 0.5 if name == "unsure" else 0.99) for name in names))
    off = PROPOSAL.model_copy(update={"auto_approve_high_confidence": False})

    async def inside() -> None:
        service = make_service(found, initial_flags=off)
        async with service.running():
            await service.extract((1,), 1)

    asyncio.run(inside())
    rows.execute("UPDATE topic_proposals SET similar_topic_id = NULL, similarity_type = NULL, similarity_score = NULL")
    rows.execute("INSERT INTO topics (name, description) VALUES ('release notes', '')")
    with peopled.begin() as transaction:
        ids = auto_approval.eligible(transaction, PROPOSAL, 100)
        assert auto_approval.eligible(transaction, off, 100) == []
    assert len(ids) == 2
    with peopled.engine() as engine:
        assert auto_approval.approve_all_eligible(engine, PROPOSAL, ids) == 1
    assert table(rows, "SELECT name, status, review_action, similarity_type FROM topic_proposals ORDER BY name") == [
        ("release note", "pending", None, "spelling"),
        ("sure", "auto_approved", "auto_approve", None),
        ("unsure", "pending", None, None),
    ]


def test_what_a_person_has_decided_is_not_approved_by_the_job(peopled: Database, proposed: dict[str, UUID]) -> None:
    decide(peopled, review.reject, proposed["backups"])
    with peopled.begin() as transaction, pytest.raises(ConflictError):
        auto_approval.approve_if_eligible(transaction, proposed["backups"], PROPOSAL, DuplicateFinder())


@pytest.mark.parametrize("sort", ["confidence", "created_at"])
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_pages_visit_every_proposal_once(sql: sa.Connection, rows: Connection, sort: Any, limit: int) -> None:
    rows.execute(
        """
        INSERT INTO knowledge_extraction_runs (id, message_ids, message_count) VALUES (gen_random_uuid(), '[]', 0);
        INSERT INTO topic_proposals (extraction_run_id, name, description, status, confidence, created_at)
        SELECT id, 't' || n, '', CASE WHEN n % 3 = 0 THEN 'approved' ELSE 'pending' END,
               CASE WHEN n % 6 = 0 THEN NULL ELSE (n % 4) / 4.0 END, now() - (n % 5) * interval '1 day'
        FROM knowledge_extraction_runs, generate_series(1, 25) AS n;
        INSERT INTO atom_proposals (extraction_run_id, type, title, content, status, confidence)
        SELECT id, 'insight', 'a' || n, '', 'pending', (n % 4) / 4.0 FROM knowledge_extraction_runs, generate_series(1, 10) n;
        """
    )
    wanted = listing.Wanted(statuses=("pending", "approved"), sort=sort)
    seen: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = listing.list_proposals(sql, wanted, limit, cursor)
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len({item["id"] for item in seen}) == len(seen) == 35
    values = [item[sort] for item in seen if item[sort] is not None]
    assert values == sorted(values, reverse=True)


def test_filters_narrow_the_list(sql: sa.Connection, proposed: dict[str, UUID]) -> None:
    def names(**wanted: Any) -> set[str]:
        page = listing.list_proposals(sql, listing.Wanted(**wanted), 50)
        return {item.get("name") or item["title"] for item in page.items}

    assert names(kinds=("topic",)) == {"backups"}
    assert names(min_confidence=0.7) == set()
    assert names(max_confidence=0.7) == set(proposed)
    assert names(statuses=("approved",)) == set()
    assert names(run_id=uuid4()) == set()
    assert names(min_similarity=0.1) == set()


@pytest.mark.parametrize("cursor", ["x", "e30", "", "\u2603", "WyJjb25maWRlbmNlIiwgMSwgIngiXQ"])
def test_a_broken_cursor_is_refused(sql: sa.Connection, cursor: str) -> None:
    if cursor:
        with pytest.raises(InvalidError):
            listing.list_proposals(sql, listing.Wanted(), 5, cursor)
