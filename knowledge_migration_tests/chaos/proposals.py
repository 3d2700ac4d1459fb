"""The judge of proposals: they belong to their rows, no acknowledged proposal or decision is lost, rollbacks keep promises.

It reads by its own SQL, and imports nothing of the migration.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from knowledge_migration_tests.chaos.journal import Decision, Journal, Table
from knowledge_migration_tests.chaos.records import (
    APPROVED,
    COPIES,
    LINK,
    LINKED_AT,
    LISTED,
    PROPOSALS,
    TABLES,
    VALUES,
    Complaint,
    Connection,
    Expected,
    Snapshot,
    exists,
    links_of,
)


def rows_and_proposals(
    connection: Connection, before: Snapshot, now: Snapshot, journal: Journal, expected: Expected, checked: Counter[str]
) -> Iterator[Complaint]:
    """Rows and proposals belong together, one to one."""
    links = links_of(connection)
    for table in TABLES:
        proposals = {str(one["id"]): one for one in connection.execute(LISTED[table])}
        checked["proposals"] += len(proposals)
        rows, linked = now.rows[table], links[table]
        counted = Counter(linked.values())
        for row_id, proposal_id in linked.items():
            if proposal_id not in proposals:
                yield Complaint("a link names an existing proposal", f"{table} {row_id} names {proposal_id}")
            if counted[proposal_id] > 1:
                yield Complaint("a proposal has one row", f"{table} {row_id} shares {proposal_id}")
        if expected.complete:
            for row_id in rows.keys() - linked.keys():
                if (table, row_id) not in expected.without_proposal:
                    yield Complaint("every row has a proposal after phase 3", f"{table} {row_id} has none")
        yield from _origins(table, rows, linked, proposals, journal, expected)
        yield from _copied_values(table, before, now, linked, proposals, journal, expected)
        if not expected.proposals_on:
            yield from _stranded(table, proposals)
        if not (journal.unanswered or expected.schema_removed):
            yield from _unexplained(table, before, rows, linked, proposals, journal)


def _origins(
    table: Table,
    rows: Mapping[int, Any],
    linked: Mapping[int, str],
    proposals: Mapping[str, dict[str, Any]],
    journal: Journal,
    expected: Expected,
) -> Iterator[Complaint]:
    """An approved proposal has its row unless the row was deleted, and no row is the work of two proposals."""
    named = set(linked.values())
    copies = {str(uuid.uuid3(COPIES, f"{table}/{row_id}")): row_id for row_id in rows}
    made: dict[int, str] = {}
    for proposal_id, one in proposals.items():
        if one["status"] not in APPROVED:
            if proposal_id in named:
                yield Complaint("a link names an approved proposal", f"{table}: {proposal_id} is {one['status']}")
            continue
        row_id = one["entity_id"]
        if one["mode"] == "backfill":
            if proposal_id not in named and proposal_id in copies:
                yield Complaint(
                    "an approved proposal has its row", f"{table} {copies[proposal_id]} does not name its copy"
                )
            continue
        if row_id is None:
            if one["similarity_type"] != "exact":
                yield Complaint("an approved proposal has its row", f"{table}: {proposal_id} names none")
            continue
        if row_id not in rows and not _may_be_gone(journal, table, row_id):
            yield Complaint("an approved proposal has its row", f"{table} {row_id} of {proposal_id} does not exist")
        if one["similarity_type"] != "exact" and row_id in rows:
            if linked.get(row_id) != proposal_id:
                yield Complaint("an approved proposal has its row", f"{table} {row_id} does not name {proposal_id}")
            if row_id in made:
                yield Complaint("a row has one proposal", f"{table} {row_id} has {made[row_id]} and {proposal_id}")
            made[row_id] = proposal_id


def _may_be_gone(journal: Journal, table: Table, row_id: int) -> bool:
    row = journal.rows.get((table, row_id))
    return bool(row and (row.deleted or row.maybe_deleted)) or (table, row_id) in journal.undone


def _copied_values(
    table: Table,
    before: Snapshot,
    now: Snapshot,
    linked: Mapping[int, str],
    proposals: Mapping[str, dict[str, Any]],
    journal: Journal,
    expected: Expected,
) -> Iterator[Complaint]:
    """The proposal of a row that nobody has written since has its values, NULL for NULL."""
    for row_id, row in before.rows[table].items():
        entry = journal.rows.get((table, row_id))
        if row_id not in linked or (entry and (entry.edited or entry.uncertain or entry.maybe_deleted)):
            continue
        proposal = proposals.get(linked[row_id])
        current = now.rows[table].get(row_id, row)
        for name in VALUES[table]:
            if name == "confidence" and (table, row_id) in expected.clamped:
                continue
            if proposal and proposal[name] != current[name]:
                yield Complaint(
                    "a proposal has the values of its row",
                    f"{table} {row_id}: {name} {proposal[name]!r}, not {current[name]!r}",
                )


def _unexplained(
    table: Table,
    before: Snapshot,
    rows: Mapping[int, Any],
    linked: Mapping[int, str],
    proposals: Mapping[str, dict[str, Any]],
    journal: Journal,
) -> Iterator[Complaint]:
    """When every request was answered, each new row is in an answer or is the row of a proposal in one."""
    answered = {key for one in journal.extractions for key in (*one.topic_proposals, *one.atom_proposals)}
    for row_id in rows.keys() - before.rows[table].keys():
        if (table, row_id) not in journal.rows and linked.get(row_id) not in answered:
            yield Complaint("a row is in an answer", f"{table} {row_id} was written, and no answer names it")


def _stranded(table: Table, proposals: Mapping[str, dict[str, Any]]) -> Iterator[Complaint]:
    for proposal_id, one in proposals.items():
        if one["status"] == "pending" and one["mode"] == "proposal" and one["review_action"] != "undo":
            yield Complaint("no proposal is stranded", f"{table}: {proposal_id} waits while proposals are off")


def acknowledged_proposals(
    connection: Connection, journal: Journal, expected: Expected, checked: Counter[str]
) -> Iterator[Complaint]:
    """Each acknowledged proposal and decision is in the tables, in an export, or among the removed ones of the audit log."""
    current = _present(connection)
    exported = _exported(expected.exports)
    removed = _removed_shadows(connection)
    for extraction in journal.extractions:
        for proposal_id in (*extraction.topic_proposals, *extraction.atom_proposals):
            checked["acknowledged proposals"] += 1
            if proposal_id not in current and proposal_id not in exported and proposal_id not in removed:
                yield Complaint(
                    "no acknowledged proposal is lost", f"{proposal_id} of {extraction.mode} run {extraction.run_id}"
                )
    for proposal_id, decision in journal.decisions.items():
        checked["decisions"] += 1
        one = current.get(proposal_id) or exported.get(proposal_id)
        yield from _decision(proposal_id, decision, one, removed=proposal_id in removed)


def _decision(
    proposal_id: str, decision: Decision, one: dict[str, Any] | None, *, removed: bool
) -> Iterator[Complaint]:
    if decision.uncertain or removed:
        return
    allowed = {"pending": ("pending", "parked")}.get(decision.status, (decision.status,))
    if one is None:
        yield Complaint("no decision is lost", f"{proposal_id}, {decision.status}, does not exist")
    elif one["status"] not in allowed:
        yield Complaint(
            "no decision is lost", f"{proposal_id} is {one['status']}, and was acknowledged as {decision.status}"
        )


def _present(connection: Connection) -> dict[str, dict[str, Any]]:
    if not exists(connection, "topic_proposals"):
        return {}
    return {str(one["id"]): one for table in TABLES for one in connection.execute(LISTED[table])}


def _exported(folder: Path | None) -> dict[str, dict[str, Any]]:
    """The proposals of the files that rollbacks of the schema have written; the newest file wins."""
    known: dict[str, dict[str, Any]] = {}
    files = sorted(folder.rglob("*.jsonl"), key=lambda file: file.stat().st_mtime) if folder and folder.exists() else []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            content = json.loads(line)
            if content.get("table") in PROPOSALS.values():
                known[str(content["row"]["id"])] = content["row"]
    return known


def _removed_shadows(connection: Connection) -> set[str]:
    if not exists(connection, "migration.audit_log"):
        return set()
    entries = connection.execute("SELECT subject FROM migration.audit_log WHERE action = 'remove shadow'")
    return {one["subject"].split()[-1] for one in entries}


def failed_shadows(connection: Connection) -> Iterator[Complaint]:
    for one in connection.execute("SELECT id, reason FROM migration.shadow_failure WHERE repaired_at IS NULL"):
        yield Complaint("no failed shadow write is left after the repair", f"{one['id']}: {one['reason'][:100]}")


def schema_is_gone(connection: Connection) -> Iterator[Complaint]:
    """After the rollback of the schema no proposal table, flag or link column remains."""
    for table in ("knowledge_extraction_runs", "topic_proposals", "atom_proposals", "feature_flags"):
        if exists(connection, f"public.{table}"):
            yield Complaint("the rollback of the schema leaves nothing", f"{table} exists")
    query = (
        "SELECT attrelid::regclass::text AS name, attname FROM pg_attribute "
        "WHERE attrelid IN ('topics'::regclass, 'atoms'::regclass) AND attname = ANY (%s) AND NOT attisdropped"
    )
    for one in connection.execute(query, ([LINK, LINKED_AT],)):
        yield Complaint("the rollback of the schema leaves nothing", f"{one['name']}.{one['attname']} exists")


def backfill_is_gone(connection: Connection) -> Iterator[Complaint]:
    """After the rollback of the backfill no proposal of it remains, and no row names one."""
    for table in TABLES:
        copies = sum(1 for one in connection.execute(LISTED[table]) if one["mode"] == "backfill")
        if copies:
            yield Complaint("the rollback of the backfill leaves nothing", f"{copies} {table} have a copy")
    yield from _dangling(connection)


def shadows_are_gone(connection: Connection) -> Iterator[Complaint]:
    """After the rollback of dual write no approved shadow remains, and no row names one."""
    for table in TABLES:
        for one in connection.execute(LISTED[table]):
            if (one["review_action"] == "dual_write" or one["mode"] == "captured") and one["status"] in APPROVED:
                yield Complaint("the rollback of dual write leaves no shadow", f"{table}: {one['id']}")
    yield from _dangling(connection)


def _dangling(connection: Connection) -> Iterator[Complaint]:
    links = links_of(connection)
    for table in TABLES:
        known = {str(one["id"]) for one in connection.execute(LISTED[table])}
        for row_id, proposal_id in links[table].items():
            if proposal_id not in known:
                yield Complaint("a link names an existing proposal", f"{table} {row_id} names {proposal_id}")


PROMISES = {
    "rollback schema": schema_is_gone,
    "rollback full": schema_is_gone,
    "rollback backfill": backfill_is_gone,
    "rollback dual-write": shadows_are_gone,
}
"""What a rollback promises as soon as it has succeeded, while users still write."""


def promises(connection: Connection, action: str) -> list[Complaint]:
    """The complaints about a rollback that has just succeeded."""
    check = PROMISES.get(action)
    return list(check(connection)) if check else []
