"""The judge of a round: compares the database with the journal of the users, by its own SQL. It imports nothing of the engine.

Every function yields complaints; none is an empty list. What cannot be read raises.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from knowledge_migration_tests.chaos.journal import NAMES, Decision, Journal, Row, Table

TABLES: tuple[Table, ...] = ("topics", "atoms")
PROPOSALS: dict[Table, str] = {"topics": "topic_proposals", "atoms": "atom_proposals"}
VALUES: dict[Table, tuple[str, ...]] = {
    "topics": ("name", "description", "icon", "color"),
    "atoms": ("type", "title", "content", "confidence", "meta"),
}
UNCHANGED: dict[str, LiteralString] = {
    "users": "SELECT id::text AS key, md5(to_jsonb(t)::text) AS value FROM users AS t",
    "sources": "SELECT id::text AS key, md5(to_jsonb(t)::text) AS value FROM sources AS t",
    "messages": "SELECT id::text AS key, md5(concat_ws('|', external_message_id, content, sent_at, source_id, author_id)) "
    "AS value FROM messages",
}
ROWS: dict[Table, LiteralString] = {
    "topics": "SELECT id, to_jsonb(t) AS row FROM topics AS t",
    "atoms": "SELECT id, to_jsonb(t) AS row FROM atoms AS t",
}
LISTED: dict[Table, LiteralString] = {
    "topics": "SELECT proposal.*, run.settings ->> 'mode' AS mode FROM topic_proposals AS proposal "
    "JOIN knowledge_extraction_runs AS run ON run.id = extraction_run_id",
    "atoms": "SELECT proposal.*, run.settings ->> 'mode' AS mode FROM atom_proposals AS proposal "
    "JOIN knowledge_extraction_runs AS run ON run.id = extraction_run_id",
}
LINK, LINKED_AT = "migrated_from_proposal_id", "migration_timestamp"
APPROVED = ("approved", "auto_approved")
COPIES = uuid.UUID(bytes=b"knowledge/origin")
"""The namespace of the ids of backfilled proposals, as sql/schema documents it."""
SHOWN = 200


@dataclass(frozen=True)
class Complaint:
    """A rule that the database violates, and how."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass
class Snapshot:
    """The legacy tables at the start of a round."""

    rows: dict[Table, dict[int, dict[str, Any]]]
    others: dict[str, dict[str, str]]
    relations: set[tuple[int, int]]


@dataclass
class Expected:
    """What the operators of a round have achieved, so that the judge knows which promises apply at its end."""

    schema: bool = False
    complete: bool = False
    dual_write: bool = False
    proposals_on: bool = False
    without_proposal: set[tuple[Table, int]] = field(default_factory=set)
    changed_by_operators: dict[tuple[Table, int], dict[str, Any]] = field(default_factory=dict)
    clamped: set[tuple[Table, int]] = field(default_factory=set)
    exports: Path | None = None
    reasons: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """The complaints, and what was compared."""

    complaints: list[Complaint]
    checked: Counter[str]


Connection = psycopg.Connection[dict[str, Any]]


def connect(url: str) -> Connection:
    """A session of the judge."""
    return psycopg.connect(url, autocommit=True, row_factory=dict_row, application_name="judge")


def snapshot(connection: Connection) -> Snapshot:
    """The legacy tables now."""
    rows = {table: {one["id"]: one["row"] for one in connection.execute(ROWS[table])} for table in TABLES}
    others = {
        name: {one["key"]: one["value"] for one in connection.execute(query)} for name, query in UNCHANGED.items()
    }
    relations = {
        (one["topic_id"], one["atom_id"]) for one in connection.execute("SELECT topic_id, atom_id FROM topic_atoms")
    }
    for table in TABLES:
        for row in rows[table].values():
            row.pop(LINK, None)
            row.pop(LINKED_AT, None)
    return Snapshot(rows, others, relations)


def audit_entries(connection: Connection) -> dict[int, str]:
    """A checksum of each entry of the audit log."""
    query = "SELECT id, to_jsonb(entry)::text AS entry FROM migration.audit_log AS entry"
    return {one["id"]: hashlib.md5(one["entry"].encode()).hexdigest() for one in connection.execute(query)}


def altered_audit(connection: Connection, before: Mapping[int, str]) -> Iterator[Complaint]:
    """Entries that were there and are changed or gone."""
    now = audit_entries(connection)
    for entry, value in before.items():
        if now.get(entry) != value:
            yield Complaint("the audit log is intact", f"entry {entry} is {'altered' if entry in now else 'gone'}")


def judge(connection: Connection, before: Snapshot, journal: Journal, expected: Expected) -> Verdict:
    """Every complaint at the end of a round, when all users have stopped."""
    now = snapshot(connection)
    checked: Counter[str] = Counter()
    complaints = [
        *_rows(before, now, journal, expected, checked),
        *_unexplained(before, now, journal),
        *_others(before, now, checked),
        *_names(now, journal, checked),
        *_relations(before, now, journal),
        *_reasons(connection, expected, checked),
    ]
    if exists(connection, "topic_proposals"):
        complaints += _proposals(connection, before, now, journal, expected, checked)
    complaints += _acknowledged_proposals(connection, journal, expected, checked)
    if not expected.schema:
        complaints += schema_is_gone(connection)
    if exists(connection, "migration.shadow_failure"):
        complaints += _failures(connection)
    return Verdict(complaints, checked)


def exists(connection: Connection, table: str) -> bool:
    """Whether a table exists."""
    row = connection.execute("SELECT to_regclass(%s) IS NOT NULL AS there", (table,)).fetchone()
    assert row
    return bool(row["there"])


def _possible(row: Row) -> Iterator[Mapping[str, Any]]:
    yield row.values
    if row.uncertain is not None:
        yield {**row.values, **row.uncertain}


def _rows(
    before: Snapshot, now: Snapshot, journal: Journal, expected: Expected, checked: Counter[str]
) -> Iterator[Complaint]:
    """Each acknowledged creation, edit and deletion is visible; rows that nobody wrote are as they were."""
    for table in TABLES:
        keys = before.rows[table].keys() | {row_id for kind, row_id in journal.rows if kind == table}
        for row_id in keys:
            entry = journal.rows.get((table, row_id))
            old, row = before.rows[table].get(row_id), now.rows[table].get(row_id)
            fixed = expected.changed_by_operators.get((table, row_id))
            checked["rows"] += 1
            for what in _row(entry, old, row, fixed, undone=(table, row_id) in journal.undone):
                yield Complaint("no acknowledged write is lost", f"{table} {row_id} {what}")


def _row(
    entry: Row | None,
    old: dict[str, Any] | None,
    row: dict[str, Any] | None,
    fixed: dict[str, Any] | None,
    *,
    undone: bool,
) -> Iterator[str]:
    if entry and entry.deleted:
        if row:
            yield "was deleted, and is there"
        return
    if row is None:
        if not (entry and (entry.maybe_deleted or (undone and old is None and not entry.edited))):
            yield "was acknowledged, and is not there"
        return
    untouched = entry is None or not (entry.edited or entry.uncertain)
    if old and untouched and not fixed:
        if changed := [name for name in old if old[name] != row[name]]:
            yield f"was not written by anybody, and differs in {', '.join(changed)}"
        return
    wanted = {**(old or {}), **(fixed or {})}
    wanted.pop("updated_at", None)
    candidates = [{**wanted, **values} for values in _possible(entry)] if entry else [wanted]
    if not any(all(row[name] == value for name, value in one.items()) for one in candidates):
        changes = [
            f"{name} is {row[name]!r}, not {value!r}" for name, value in candidates[0].items() if row[name] != value
        ]
        yield f"is not as acknowledged: {'; '.join(changes)}"


def _unexplained(before: Snapshot, now: Snapshot, journal: Journal) -> Iterator[Complaint]:
    """Rows named as users name theirs, or present although an acknowledged answer never named them, are counted by name."""
    for table in TABLES:
        if (
            gone := before.rows[table].keys()
            - now.rows[table].keys()
            - {key for kind, key in journal.rows if kind == table}
        ):
            yield Complaint("nobody deletes but users", f"{table} {sorted(gone)[:SHOWN]}")


def _others(before: Snapshot, now: Snapshot, checked: Counter[str]) -> Iterator[Complaint]:
    """People, sources and messages are as they were."""
    for table, rows in before.others.items():
        checked["other rows"] += len(rows)
        differing = [
            key for key in rows.keys() | now.others[table].keys() if rows.get(key) != now.others[table].get(key)
        ]
        if differing:
            yield Complaint("other tables are not changed", f"{table} {sorted(differing)[:SHOWN]}")


def _names(now: Snapshot, journal: Journal, checked: Counter[str]) -> Iterator[Complaint]:
    """A creation happened once; one without an answer at most once. No two topics have one name."""
    for table in TABLES:
        counts = Counter(row[NAMES[table]] for row in now.rows[table].values())
        for (kind, name), _ in journal.names.items():
            if kind == table:
                checked["names"] += 1
                if counts[name] > 1:
                    yield Complaint("no name is duplicated", f"{table} {name!r} exists {counts[name]} times")
                if counts[name] and (table, name) in journal.refused:
                    yield Complaint("what was refused is not written", f"{table} {name!r} exists")
        if table == "topics":
            for name, count in counts.items():
                if count > 1:
                    yield Complaint("no name is duplicated", f"topic {name!r} exists {count} times")


def _relations(before: Snapshot, now: Snapshot, journal: Journal) -> Iterator[Complaint]:
    """The relations of atoms that exist are kept."""
    for topic_id, atom_id in (before.relations | journal.relations) - now.relations:
        if atom_id in now.rows["atoms"] and topic_id in now.rows["topics"]:
            yield Complaint("no acknowledged write is lost", f"topic {topic_id} has lost its atom {atom_id}")


def _reasons(connection: Connection, expected: Expected, checked: Counter[str]) -> Iterator[Complaint]:
    """Each completed action of an operator that needs a reason is in the audit log."""
    if not expected.reasons or not exists(connection, "migration.audit_log"):
        return
    known = {one["reason"] or "" for one in connection.execute("SELECT reason FROM migration.audit_log")}
    for reason in expected.reasons:
        checked["audited actions"] += 1
        if not any(reason in one for one in known):
            yield Complaint("every action is in the audit log", f"no entry has the reason {reason!r}")


def _proposals(
    connection: Connection, before: Snapshot, now: Snapshot, journal: Journal, expected: Expected, checked: Counter[str]
) -> Iterator[Complaint]:
    """Rows and proposals belong together, one to one."""
    links = _links(connection)
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


def _links(connection: Connection) -> dict[Table, dict[int, str]]:
    queries: dict[Table, LiteralString] = {
        "topics": "SELECT id, migrated_from_proposal_id AS link FROM topics WHERE migrated_from_proposal_id IS NOT NULL",
        "atoms": "SELECT id, migrated_from_proposal_id AS link FROM atoms WHERE migrated_from_proposal_id IS NOT NULL",
    }
    return {table: {one["id"]: str(one["link"]) for one in connection.execute(queries[table])} for table in TABLES}


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


def _stranded(table: Table, proposals: Mapping[str, dict[str, Any]]) -> Iterator[Complaint]:
    for proposal_id, one in proposals.items():
        if one["status"] == "pending" and one["mode"] == "proposal" and one["review_action"] != "undo":
            yield Complaint("no proposal is stranded", f"{table}: {proposal_id} waits while proposals are off")


def _acknowledged_proposals(
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


def _failures(connection: Connection) -> Iterator[Complaint]:
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
            if one["review_action"] == "dual_write" and one["status"] in APPROVED:
                yield Complaint("the rollback of dual write leaves no shadow", f"{table}: {one['id']}")
    yield from _dangling(connection)


def _dangling(connection: Connection) -> Iterator[Complaint]:
    links = _links(connection)
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


def summarized(complaints: Iterable[Complaint]) -> list[str]:
    """The complaints by rule, with the first of each."""
    by_rule: dict[str, list[str]] = {}
    for complaint in complaints:
        by_rule.setdefault(complaint.rule, []).append(complaint.what)
    return [f"{rule} ({len(whats)}): {'; '.join(whats[:5])}" for rule, whats in by_rule.items()]


def reconnect(url: str, seconds: float = 60.0) -> Connection:
    """A session after a crash of the server; raises what the server says if it does not come back."""
    import time

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(psycopg.OperationalError):
            return connect(url)
        time.sleep(0.2)
    return connect(url)
