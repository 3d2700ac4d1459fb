"""The judge of a round: compares the database with the journal of the users, by its own SQL. It imports nothing of the engine.

Every function yields complaints; none is an empty list. What cannot be read raises.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from knowledge_migration_tests.chaos.journal import NAMES, Journal, Row
from knowledge_migration_tests.chaos.proposals import (
    acknowledged_proposals,
    failed_shadows,
    rows_and_proposals,
    schema_is_gone,
)
from knowledge_migration_tests.chaos.records import (
    SHOWN,
    TABLES,
    Complaint,
    Connection,
    Expected,
    Snapshot,
    Verdict,
    exists,
    snapshot,
)


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
        *_others(before, now, checked),
        *_names(now, journal, checked),
        *_relations(before, now, journal),
        *_reasons(connection, expected, checked),
    ]
    if exists(connection, "topic_proposals"):
        complaints += rows_and_proposals(connection, before, now, journal, expected, checked)
    complaints += acknowledged_proposals(connection, journal, expected, checked)
    if not expected.schema:
        complaints += schema_is_gone(connection)
    if exists(connection, "migration.shadow_failure"):
        complaints += failed_shadows(connection)
    return Verdict(complaints, checked)


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


def summarized(complaints: Iterable[Complaint]) -> list[str]:
    """The complaints by rule, with the first of each."""
    by_rule: dict[str, list[str]] = {}
    for complaint in complaints:
        by_rule.setdefault(complaint.rule, []).append(complaint.what)
    return [f"{rule} ({len(whats)}): {'; '.join(whats[:5])}" for rule, whats in by_rule.items()]
