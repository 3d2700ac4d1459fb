"""The judge of rounds with the capture: every committed row has its one proposal, and nothing of a user is lost.

It reads by its own SQL, compares with what the sessions remember, and imports nothing of the migration.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

from knowledge_migration_tests.chaos.journal import NAMES, Table
from knowledge_migration_tests.chaos.records import (
    APPROVED,
    COPIES,
    LISTED,
    PROPOSALS,
    TABLES,
    VALUES,
    Complaint,
    Connection,
    Snapshot,
    Verdict,
    links_of,
    snapshot,
)
from knowledge_migration_tests.chaos.sessions import UNCAPTURED, Key, Memory

CONTENTS: dict[Table, str] = {"topics": "description", "atoms": "content"}
EXPECTED = ("55P03", "55000")
"""A proposal that another session held, which the capture does not wait for; a capture that was installed again."""

UNLINKED: LiteralString = """
SELECT (SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NULL)
     + (SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NULL AND title NOT LIKE %s AND id NOT IN (
           SELECT row_id FROM migration.quarantine WHERE entity = 'atom' AND state = 'open')) AS rows,
       (SELECT count(*) FROM migration.capture_log WHERE sqlstate IS NOT NULL AND swept_at IS NULL) AS failures
"""
TRIGGERS: LiteralString = "SELECT tgname AS name FROM pg_trigger WHERE tgname LIKE 'knowledge_migration%'"
FAILURES: LiteralString = (
    "SELECT operation, sqlstate, reason, swept_at IS NULL AS open FROM migration.capture_log WHERE sqlstate IS NOT NULL"
)


def while_writing(connection: Connection) -> Iterator[Complaint]:
    """As soon as phase 3 has succeeded, while sessions still write: no committed row is without its proposal."""
    row = connection.execute(UNLINKED, (f"{UNCAPTURED}%",)).fetchone()
    assert row
    if row["rows"] and not row["failures"]:
        yield Complaint("every row has a proposal after phase 3", f"{row['rows']} rows have none while sessions write")


def judge(connection: Connection, before: Snapshot, memories: Sequence[Memory], *, complete: bool) -> Verdict:
    """Every complaint when all sessions have stopped: after a completed phase 3, or after everything was rolled back."""
    now, checked = snapshot(connection), Counter[str]()
    names = {table: {row[NAMES[table]]: row for row in now.rows[table].values()} for table in TABLES}
    known = _joined(memories)
    complaints = [
        *_rows(before, now, names, known, checked),
        *_relations(before, now, names, known, checked),
        *_failures(connection, checked),
        *(_paired(connection, now, names, known, checked) if complete else _removed(connection)),
    ]
    return Verdict(complaints, checked)


def _joined(memories: Sequence[Memory]) -> Memory:
    joined = Memory()
    for one in memories:
        joined.contents |= one.contents
        joined.gone |= one.gone
        for name in ("related", "parted", "held", "unclear"):
            getattr(joined, name).update(getattr(one, name))
    return joined


Names = Mapping[Table, Mapping[str, dict[str, Any]]]


def _rows(before: Snapshot, now: Snapshot, names: Names, known: Memory, checked: Counter[str]) -> Iterator[Complaint]:
    """Every committed row is as it was written last; a deleted one and one that was rolled back do not exist."""
    for table in TABLES:
        for row_id, old in before.rows[table].items():
            if now.rows[table].get(row_id) != old:
                yield Complaint("no acknowledged write is lost", f"{table} {row_id} was written by nobody, and differs")
        own = {row[NAMES[table]] for row in before.rows[table].values()}
        for name in names[table].keys() - own:
            if (table, name) not in known.contents.keys() | known.unclear and not name.startswith("shared "):
                yield Complaint("what was rolled back is not written", f"{table} {name!r} exists")
    for key, contents in known.contents.items():
        if key in known.unclear:
            continue
        checked["rows"] += 1
        row = names[key[0]].get(key[1])
        if (row is None) != (key in known.gone):
            yield Complaint("no acknowledged write is lost", f"{key} {'is there' if row else 'is not there'}")
        elif row and row[CONTENTS[key[0]]] != contents[-1]:
            yield Complaint("no acknowledged write is lost", f"{key} has not the content that was written last")


def _relations(
    before: Snapshot, now: Snapshot, names: Names, known: Memory, checked: Counter[str]
) -> Iterator[Complaint]:
    if lost := before.relations - now.relations:
        yield Complaint("no acknowledged write is lost", f"relations {sorted(lost)}")
    for pair in known.related | known.parted:
        topic, atom = names["topics"].get(pair[0]), names["atoms"].get(pair[1])
        if topic and atom and not _unclear(known, pair):
            checked["relations"] += 1
            if ((topic["id"], atom["id"]) in now.relations) != (pair in known.related):
                yield Complaint("no acknowledged write is lost", f"the relation {pair}")


def _unclear(known: Memory, pair: tuple[str, str]) -> bool:
    return bool({("topics", pair[0]), ("atoms", pair[1])} & known.unclear)


def _failures(connection: Connection, checked: Counter[str]) -> Iterator[Complaint]:
    """The capture fails for no other reason than these, and a sweep completes them."""
    for one in connection.execute(FAILURES):
        checked[f"failures ({one['sqlstate']})"] += 1
        if one["sqlstate"] not in EXPECTED:
            yield Complaint("the capture does not fail", f"{one['operation']}: {one['sqlstate']} {one['reason']}")


def _paired(
    connection: Connection, now: Snapshot, names: Names, known: Memory, checked: Counter[str]
) -> Iterator[Complaint]:
    """Rows and proposals belong together, one to one."""
    links = links_of(connection)
    held = {one["row_id"] for one in connection.execute("SELECT row_id FROM migration.quarantine WHERE state = 'open'")}
    for table in TABLES:
        proposals = {str(one["id"]): one for one in connection.execute(LISTED[table])}
        checked["proposals"] += len(proposals)
        for row_id, row in now.rows[table].items():
            proposal = proposals.get(links[table].get(row_id, ""))
            if row[NAMES[table]] in known.held:
                if proposal or row_id not in held:
                    yield Complaint("what cannot become a proposal is in quarantine", f"{table} {row_id}")
            elif proposal is None:
                yield Complaint("every row has a proposal after phase 3", f"{table} {row_id} has none")
            else:
                yield from _pair(table, row, proposal, now, known)
        yield from _orphans(table, names[table], proposals, set(links[table].values()), known)
    yield from (
        Complaint("a sweep completes what was held up", f"{one['operation']}: {one['reason']}")
        for one in connection.execute(FAILURES)
        if one["open"]
    )


def _pair(
    table: Table, row: Mapping[str, Any], proposal: Mapping[str, Any], now: Snapshot, known: Memory
) -> Iterator[Complaint]:
    label = f"{table} {row['id']}"
    if proposal["id"] != uuid.uuid3(COPIES, f"{table}/{row['id']}") or proposal["status"] not in APPROVED:
        yield Complaint("a row has its own approved proposal", f"{label}: {proposal['id']} is {proposal['status']}")
    history = known.contents.get((table, row[NAMES[table]]), [])
    for name in VALUES[table]:
        values = [row[name], *(history if name == CONTENTS[table] else [])]
        if proposal[name] not in values and (table, row[NAMES[table]]) not in known.unclear:
            yield Complaint("a proposal has the values of its row", f"{label}: {name} is {proposal[name]!r}")
    if table == "atoms" and proposal["mode"] == "captured":
        related = {topic for topic, atom in now.relations if atom == row["id"]}
        if missing := related - set(proposal["proposed_topic_ids"] or ()):
            yield Complaint(
                "a captured proposal names the topics of its row", f"{label}: {sorted(missing)} are missing"
            )


def _orphans(
    table: Table,
    rows: Mapping[str, Any],
    proposals: Mapping[str, Mapping[str, Any]],
    linked: set[str],
    known: Memory,
) -> Iterator[Complaint]:
    """A proposal without a row belongs to a deleted one, and is marked if the capture saw the deletion."""
    for proposal_id, one in proposals.items():
        if proposal_id in linked:
            continue
        key: Key = (table, one[NAMES[table]])
        if key[1] in rows or (key not in known.gone and key not in known.unclear):
            yield Complaint("no proposal is orphaned", f"{table}: {proposal_id} of {key[1]!r}, {one['mode']}")
        elif known.gone.get(key) and one["entity_id"] is None:
            yield Complaint("a deletion marks the proposal", f"{table}: {proposal_id} of {key[1]!r}, {one['mode']}")


def _removed(connection: Connection) -> Iterator[Complaint]:
    """After all rollbacks no link, proposal or trigger is left."""
    links = links_of(connection)
    for table in TABLES:
        for rows in (links[table], {one["id"]: one for one in connection.execute(LISTED[table])}):
            if rows:
                yield Complaint("the rollbacks leave nothing", f"{len(rows)} links or {PROPOSALS[table]}")
    for one in connection.execute(TRIGGERS):
        yield Complaint("the rollbacks leave nothing", f"trigger {one['name']}")
