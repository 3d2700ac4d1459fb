"""Lists, page by page: every proposal exactly once, in order, whatever the ties; filters, runs, and cursors that lie."""

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.errors import InvalidError, UnknownError
from knowledge_migration.knowledge.proposals import listing, review
from knowledge_migration.knowledge.proposals.listing import Page, Wanted
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop
from knowledge_migration_tests.engine.backfill.backfilling import backfill
from knowledge_migration_tests.knowledge.proposals.listed import DAY, ROWS, RUN_2
from knowledge_migration_tests.knowledge.proposals.reviewing import approve, decide, propose

SORTS = ("confidence", "created_at")


@pytest.fixture(scope="module")
def listed(server: EmbeddedServer) -> Iterator[sa.Connection]:
    """A hundred proposals with many ties in every order, read only."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test") as session:
        session.execute(ROWS)
    with database.engine() as engine, engine.connect() as connection:
        yield connection
    drop(server, database)


def pages(read: Callable[[str | None], Page], most: int = 500) -> Iterator[list[dict[str, Any]]]:
    cursor: str | None = None
    for _ in range(most):
        page = read(cursor)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return
    raise AssertionError("the pages never end")


def names(connection: sa.Connection, **wanted: Any) -> set[str]:
    page = listing.list_proposals(connection, Wanted(**wanted), 200)
    assert page.next_cursor is None
    return {item.get("name") or item["title"] for item in page.items}


EVERY = """
SELECT name, status, confidence, created_at, similarity_score, similar_topic_id AS other, extraction_run_id, 'topic' AS kind
FROM topic_proposals
UNION ALL
SELECT title, status, confidence, created_at, similarity_score, similar_atom_id, extraction_run_id, 'atom'
FROM atom_proposals
"""


def selected(connection: sa.Connection, condition: str) -> set[str]:
    query = f"SELECT name FROM ({EVERY}) AS every WHERE {condition}"  # noqa: S608
    return set(connection.exec_driver_sql(query).scalars())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 120),
    sort=st.sampled_from(SORTS),
    kinds=st.sampled_from([("topic",), ("atom",), ("topic", "atom"), ("atom", "topic")]),
    statuses=st.permutations(["pending", "approved", "rejected"]).flatmap(
        lambda order: st.integers(1, 3).map(lambda count: tuple(order[:count]))
    ),
)
def test_pages_of_any_size_visit_every_proposal_once_and_in_order(
    listed: sa.Connection, limit: int, sort: Any, kinds: Any, statuses: tuple[str, ...]
) -> None:
    wanted = Wanted(kinds=kinds, statuses=statuses, sort=sort)
    found = list(pages(lambda cursor: listing.list_proposals(listed, wanted, limit, cursor)))
    assert all(len(page) == limit for page in found[:-1])
    items = [item for page in found for item in page]
    expected = selected(listed, f"kind IN ({_quoted(kinds)}) AND status IN ({_quoted(statuses)})")
    assert sorted(item.get("name") or item["title"] for item in items) == sorted(expected)
    keys = [(item[sort] is not None, -_number(item[sort]), item["id"]) for item in items]
    assert keys == sorted(keys)


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _number(value: Any) -> float:
    if isinstance(value, datetime):
        return (value - datetime(2026, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)
    return value or 0.0


def test_a_page_that_ends_with_the_last_proposal_has_no_next(listed: sa.Connection) -> None:
    wanted = Wanted(statuses=("pending", "approved", "rejected"))
    assert listing.list_proposals(listed, wanted, 100).next_cursor is None
    assert listing.list_proposals(listed, wanted, 99).next_cursor is not None
    assert listing.list_proposals(listed, Wanted(statuses=("merged",)), 5) == Page([], None)


@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        ({}, "true"),
        ({"kinds": ("topic",)}, "kind = 'topic'"),
        ({"statuses": ("approved", "rejected")}, "status <> 'pending'"),
        ({"min_confidence": 2 / 3}, "confidence >= 2 / 3.0"),
        ({"max_confidence": 0.0}, "confidence <= 0"),
        ({"min_confidence": 0.0, "statuses": ("approved",)}, "confidence IS NOT NULL AND status = 'approved'"),
        ({"min_confidence": 0.3, "max_confidence": 0.4}, "confidence BETWEEN 0.3 AND 0.4"),
        ({"min_similarity": 0.24}, "similarity_score >= 0.24 AND other IS NOT NULL"),
        ({"min_similarity": 0.0}, "other IS NOT NULL"),
        ({"run_id": RUN_2}, "extraction_run_id = md5('run2')::uuid"),
        ({"run_id": uuid4()}, "false"),
        ({"created_after": DAY + timedelta(microseconds=3)}, "created_at >= timestamptz '2026-01-01 00:00:00.000003Z'"),
        ({"created_before": DAY}, "created_at <= timestamptz '2026-01-01 00:00Z'"),
        ({"similar": True}, "other IS NOT NULL"),
        (
            {"similar": False, "statuses": ("pending", "rejected")},
            "other IS NULL AND status IN ('pending', 'rejected')",
        ),
        ({"similar": False, "min_similarity": 0.1}, "false"),
        ({"text": "T1", "run_id": RUN_2}, "name LIKE 't1%%' AND extraction_run_id = md5('run2')::uuid"),
        ({"text": "2"}, "name LIKE '%%2%%'"),
        ({"text": ""}, "true"),
        ({"text": "nowhere"}, "false"),
        (
            {"kinds": ("topic",), "statuses": ("rejected",), "run_id": RUN_2, "min_confidence": 0.1},
            "kind = 'topic' AND status = 'rejected' AND extraction_run_id = md5('run2')::uuid AND confidence >= 0.1",
        ),
    ],
)
@pytest.mark.parametrize("sort", SORTS)
def test_each_filter_narrows_the_list_to_exactly_what_it_says(
    listed: sa.Connection, wanted: dict[str, Any], condition: str, sort: str
) -> None:
    default = "" if "status" in condition else " AND status = 'pending'"
    assert names(listed, sort=sort, **wanted) == selected(listed, f"({condition}){default}")


TEXTS_OF_EACH_COLUMN = """
INSERT INTO knowledge_extraction_runs (message_ids, message_count) VALUES ('[]', 0);
INSERT INTO topic_proposals (extraction_run_id, name, description, confidence)
SELECT run.id, given.name, given.description, 0.5 FROM knowledge_extraction_runs AS run,
    (SELECT unnest(%(texts)s::text[]), '-' UNION ALL SELECT '-', unnest(%(texts)s::text[])) AS given (name, description);
INSERT INTO atom_proposals (extraction_run_id, type, title, content, confidence)
SELECT extraction_run_id, 'insight', name, description, confidence FROM topic_proposals;
"""
TEXTS = (
    "Straße 50% off",
    "a_b",
    "ÄRGER",
    "back\\slash",
    "a/b",
    'it\'s "quoted"',
    "日本語 👩‍👩‍👧",
    "line\nbreak",
    "axb",
)


@pytest.fixture(scope="module")
def texts(server: EmbeddedServer) -> Iterator[sa.Connection]:
    """Proposals of both kinds with each of these texts, once in short and once at length."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test") as session:
        for statement in TEXTS_OF_EACH_COLUMN.strip().split(";\n"):
            session.execute(statement, {"texts": list(TEXTS)})  # type: ignore[arg-type]
    with database.engine() as engine, engine.connect() as connection:
        yield connection
    drop(server, database)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("50%", {"Straße 50% off"}),
        ("%", {"Straße 50% off"}),
        ("_", {"a_b"}),
        ("A_B", {"a_b"}),
        ("STRASSE", set()),
        ("straße", {"Straße 50% off"}),
        ("ärger", {"ÄRGER"}),
        ("\\", {"back\\slash"}),
        ("/", {"a/b"}),
        ("a/b", {"a/b"}),
        ("'S \"Q", {'it\'s "quoted"'}),
        ("本語", {"日本語 👩‍👩‍👧"}),
        ("👩‍👧", {"日本語 👩‍👩‍👧"}),
        ("E\nB", {"line\nbreak"}),
        (" ", {"Straße 50% off", 'it\'s "quoted"', "日本語 👩‍👩‍👧"}),
        ("no\x00where", set()),
        ("\ud83d", set()),
    ],
)
@pytest.mark.parametrize("column", ["name", "description", "title", "content"])
def test_a_text_is_found_as_it_is_in_each_of_the_texts_whatever_its_case(
    texts: sa.Connection, column: str, text: str, found: set[str]
) -> None:
    kind: Any = "topic" if column in ("name", "description") else "atom"
    items = listing.list_proposals(texts, Wanted(kinds=(kind,), text=text), 50).items
    assert {item[column] for item in items} - {"-"} == found


def test_filters_hold_on_every_page(listed: sa.Connection) -> None:
    wanted = Wanted(statuses=("pending", "approved"), min_confidence=0.3, created_after=DAY + timedelta(microseconds=1))
    items = [item for page in pages(lambda cursor: listing.list_proposals(listed, wanted, 3, cursor)) for item in page]
    condition = "status <> 'rejected' AND confidence >= 0.3 AND created_at >= timestamptz '2026-01-01 00:00:00.000001Z'"
    assert sorted(item.get("name") or item["title"] for item in items) == sorted(selected(listed, condition))


def test_a_backfilled_proposal_without_confidence_is_listed_first_and_paged(
    peopled: Database, rows: Connection, sql: sa.Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) SELECT 'legacy ' || n, '' FROM generate_series(1, 5) AS n")
    backfill(peopled)
    proposed = propose(peopled)
    approve(peopled, *proposed.values())
    wanted = Wanted(statuses=("approved",))
    items = [item for page in pages(lambda cursor: listing.list_proposals(sql, wanted, 2, cursor)) for item in page]
    assert [item["confidence"] for item in items] == [None] * 5 + [0.6] * 3
    assert sorted(item["entity_id"] for item in items if item["entity_type"] == "topic") == [1, 2, 3, 4, 5, 6]


def test_a_decision_between_two_pages_repeats_and_loses_nothing_that_still_waits(peopled: Database) -> None:
    propose(peopled)
    with peopled.begin() as transaction:
        first = listing.list_proposals(transaction, Wanted(), 1)
    decide(peopled, review.reject, first.items[0]["id"])
    with peopled.begin() as transaction:
        rest = listing.list_proposals(transaction, Wanted(), 10, first.next_cursor)
        everything = listing.list_proposals(transaction, Wanted(), 10)
    assert rest.items == everything.items
    assert len(rest.items) == 2


def test_one_proposal_says_what_it_stands_for_and_what_it_is_similar_to(
    peopled: Database, rows: Connection, sql: sa.Connection
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', ''), ('backups', '')")
    first, second = propose(peopled), propose(peopled)
    decide(peopled, review.merge, first["backups"], 1)
    approve(peopled, second["backups"], first["restore"])
    shown = [
        listing.one_proposal(sql, key)
        for key in (first["backups"], second["backups"], first["restore"], second["restore"])
    ]
    assert [(one["entity_type"], one["status"], one["entity_id"], one["similar_entity_id"]) for one in shown] == [
        ("topic", "merged", 1, 1),
        ("topic", "approved", 2, 2),
        ("atom", "approved", 1, None),
        ("atom", "pending", None, None),
    ]
    assert "similar_topic_id" not in shown[0]
    with pytest.raises(UnknownError, match="no proposal"):
        listing.one_proposal(sql, uuid4())


# Runs.


@pytest.mark.parametrize("limit", [1, 2, 4, 9, 50])
def test_runs_come_newest_first_each_with_the_number_of_its_proposals(listed: sa.Connection, limit: int) -> None:
    items = [item for page in pages(lambda cursor: listing.list_runs(listed, limit, cursor)) for item in page]
    expected = listed.exec_driver_sql(
        "SELECT id, (SELECT count(*) FROM topic_proposals WHERE extraction_run_id = run.id), "
        "(SELECT count(*) FROM atom_proposals WHERE extraction_run_id = run.id) "
        "FROM knowledge_extraction_runs AS run ORDER BY created_at DESC, id DESC"
    ).all()
    assert [(one["id"], one["topic_proposal_count"], one["atom_proposal_count"]) for one in items] == [
        tuple(row) for row in expected
    ]
    assert sum(one["topic_proposal_count"] for one in items) == 60


def test_the_proposals_of_a_large_run_are_counted_up_to_a_bound(
    listed: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "COUNTED", 12)
    counts = [one["topic_proposal_count"] for one in listing.list_runs(listed, 50).items]
    assert (max(counts), listing.one_run(listed, RUN_2)["topic_proposal_count"]) == (12, 12)


def test_runs_are_filtered_by_their_status_on_every_page(listed: sa.Connection) -> None:
    found = list(pages(lambda cursor: listing.list_runs(listed, 2, cursor, ["failed"])))
    assert [len(page) for page in found] == [2, 1]
    assert {one["status"] for page in found for one in page} == {"failed"}


def test_one_run_is_found_by_its_id(listed: sa.Connection) -> None:
    assert (listing.one_run(listed, RUN_2)["id"], listing.one_run(listed, RUN_2)["topic_proposal_count"]) == (RUN_2, 15)
    with pytest.raises(UnknownError, match="no extraction run"):
        listing.one_run(listed, uuid4())


# Cursors that lie.


def cursor_of(*words: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(words).encode()).decode().rstrip("=")


BROKEN = {
    "no base64": "%%%",
    "no letters": "\u2603",
    "no JSON": "e30x",
    "an object": base64.urlsafe_b64encode(b"{}").decode(),
    "a number": base64.urlsafe_b64encode(b"7").decode(),
    "too short": cursor_of("confidence", 0.5),
    "too long": cursor_of("confidence", 0.5, str(uuid4()), 1),
    "no id": cursor_of("confidence", 0.5, "x"),
    "a number as id": cursor_of("confidence", 0.5, 7),
    "no number": cursor_of("confidence", "much", str(uuid4())),
    "a list": cursor_of("confidence", [1], str(uuid4())),
    "no order": cursor_of("name", "a", str(uuid4())),
    "of another order": cursor_of("created_at", "2026-01-01T00:00:00+00:00", str(uuid4())),
    "an absurd number": base64.urlsafe_b64encode(b'["confidence", 1' + b"0" * 400 + b', "x"]').decode(),
    "absurdly deep": base64.urlsafe_b64encode(b"[" * 200_000).decode(),
}


@pytest.mark.parametrize("cursor", list(BROKEN.values()), ids=list(BROKEN))
def test_a_cursor_that_is_none_of_this_list_is_refused(listed: sa.Connection, cursor: str) -> None:
    with pytest.raises(InvalidError, match="none of this list"):
        listing.list_proposals(listed, Wanted(), 5, cursor)


@pytest.mark.parametrize(
    "value", [None, 7, "yesterday", "2026-13-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
)
def test_a_cursor_of_no_moment_is_refused_or_reads_an_empty_or_full_list(listed: sa.Connection, value: Any) -> None:
    cursor = cursor_of("created_at", value, str(uuid4()))
    if isinstance(value, str) and "T" in value:
        assert len(listing.list_runs(listed, 50, cursor).items) in (0, 9)
    else:
        for read in (
            listing.list_runs,
            lambda *given: listing.list_proposals(given[0], Wanted(sort="created_at"), *given[1:]),
        ):
            with pytest.raises(InvalidError):
                read(listed, 5, cursor)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "true"])
def test_a_cursor_of_an_odd_number_reads_without_an_error(listed: sa.Connection, word: str) -> None:
    text = f'["confidence", {word}, "{UUID(int=0)}"]'
    page = listing.list_proposals(listed, Wanted(), 5, base64.urlsafe_b64encode(text.encode()).decode())
    assert len(page.items) in (0, 5)
