"""The rows of topics, atoms and their relations as the fingerprint saw them: key, hash and stamp of each, by range of keys.

They tell apart, in ranges whose checksum differs, rows that are gone, altered without a stamp, and written since. About 24
bytes per row (less where stamps compress); memory does not grow with the table, because ranges are compared one by one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from psycopg import IsolationLevel, sql

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation import fingerprint as fingerprints
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.foundation.fingerprint import Fingerprint, TableFingerprint
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.foundation.user_tables import HashedTable, hashed_tables, reading
from knowledge_migration.knowledge.tables import atom_links, atoms, topic_atoms, topics
from knowledge_migration.knowledge.values import HIGHEST_ID, LOWEST_ID
from knowledge_migration.settings import ValidationSettings

ASSET, CHECK = "legacy_fingerprint", "legacy_rows_equal_the_fingerprint"
TABLES: Mapping[str, sa.Table] = {table.name: table for table in (topics, atoms, topic_atoms, atom_links)}
"""The judged tables; of others that the fingerprint covers, the check reports the number of ranges that differ."""

STAMP = "updated_at"
SHOWN_IDS = 5


class NotComparableError(PreconditionError):
    """Columns changed since the fingerprint, or its rows were not kept; only a new fingerprint can be compared again."""


@dataclass(frozen=True)
class Loss:
    """One table against the fingerprint: `gone` without the rows that the service deleted, `altered` without a stamp."""

    table: str
    rows: int
    gone: int
    deleted_by_the_service: int
    altered: int
    written_since: int
    added: int
    keys: tuple[int, ...]

    def violations(self, limits: ValidationSettings) -> int:
        """The rows that are gone or altered, where their share of the table is above the limit."""
        return sum(
            rows
            for rows, percent in (
                (self.gone, limits.legacy_rows_max_gone_percent),
                (self.altered, limits.legacy_rows_max_altered_percent),
            )
            if 100 * rows > percent * self.rows
        )

    @property
    def sentence(self) -> str:
        """The numbers with their shares."""
        parts = {
            "gone": self.gone,
            "altered without a new updated_at": self.altered,
            "deleted by the service": self.deleted_by_the_service,
            "written since": self.written_since,
        }
        named = [f"{rows:,} ({self._percent(rows)}) {what}" for what, rows in parts.items() if rows]
        return f"{self.table}: of {self.rows:,} rows {', '.join(named) or 'all are unchanged'}."

    def as_row(self) -> dict[str, Any]:
        """For tables and evidence."""
        return {
            "table": self.table,
            "rows of the fingerprint": self.rows,
            "gone": self.gone,
            "gone, share": self._percent(self.gone),
            "altered without a stamp": self.altered,
            "altered, share": self._percent(self.altered),
            "deleted by the service": self.deleted_by_the_service,
            "written since": self.written_since,
            "added": self.added,
            "first ids": ", ".join(map(str, self.keys)),
        }

    def _percent(self, rows: int) -> str:
        return f"{100 * rows / self.rows:.3g} %" if self.rows else "0 %"


def remember(database: Database, snapshot_id: str, fingerprint: Fingerprint) -> None:
    """Writes key, hash and stamp of each row of the judged tables, as the exported snapshot of `fingerprint` sees them."""
    with database.connect("legacy rows") as connection:
        connection.execute(statement("foundation/snapshot_session"))
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            connection.execute(statement("foundation/snapshot_join", snapshot=sql.Literal(snapshot_id)))
            connection.execute(statement("foundation/fingerprint_settings"))
            for table, before in _judged(connection, fingerprint):
                bounds = [_bounds(part) for part in before.ranges]
                values = {
                    "taken_at": fingerprint.taken_at,
                    "table_name": before.name,
                    "first_keys": [low for low, _ in bounds],
                    "last_keys": [high for _, high in bounds],
                }
                with reading(connection, table.label):
                    connection.execute(statement("foundation/legacy_rows_remember", **_names(table)), values)


def forget_others(connection: Connection, taken_at: datetime) -> None:
    """Deletes the rows of earlier fingerprints, in the transaction that records the new one."""
    connection.execute(text_of("foundation/legacy_rows_forget"), {"taken_at": taken_at})


def outcome(connection: Connection, limits: ValidationSettings) -> CheckOutcome:
    """Whether the rows of the latest fingerprint are there, unaltered unless users wrote them. Reads every legacy row once.

    Raises `PreconditionError` without a fingerprint, `NotComparableError` without its rows or columns, `VerificationError` where
    a table is gone.
    """
    recorded = evidence.require(connection, ASSET, made_by=f"asset {ASSET}")
    before = Fingerprint.from_evidence(recorded.content)
    losses, others = compare(connection, before)
    violated = [loss for loss in losses if loss.violations(limits)]
    return CheckOutcome(
        name=CHECK,
        count=sum(loss.violations(limits) for loss in losses),
        sample=tuple(loss.as_row() for loss in losses),
        description=" ".join(
            [
                "Every row of the fingerprint is there, with its values unless it was written since.",
                *(loss.sentence for loss in violated),
            ]
        ),
        remedy=f"Find out who wrote past the application since {before.taken_at:%Y-%m-%d %H:%M} UTC. "
        "`knowledge-migration rollback full --dry-run` compares with the verified backup. If all of it was intended, raise "
        "LEGACY_ROWS_MAX_GONE_PERCENT or LEGACY_ROWS_MAX_ALTERED_PERCENT.",
        numbers={
            "fingerprint_of": recorded.recorded_at,
            **{loss.table: loss.sentence for loss in losses},
            "differing_ranges_of_other_tables": others,
        },
    )


def refuse_to_replace(connection: Connection, limits: ValidationSettings) -> None:
    """Raises `VerificationError` where a new fingerprint would hide losses since the latest one, once rows can have proposals.

    A fingerprint that cannot be compared any more may be replaced; one of a table that is gone may not.
    """
    if not exists(connection, "public.atom_proposals") or evidence.latest(connection, ASSET) is None:
        return
    try:
        verdict = outcome(connection, limits)
    except NotComparableError:
        return
    if not verdict.passed:
        raise VerificationError(f"A new fingerprint and backup would hide what was lost. {verdict.sentence}")


def compare(connection: Connection, before: Fingerprint) -> tuple[tuple[Loss, ...], int]:
    """The losses by judged table, and the number of ranges of other tables that differ; in one snapshot."""
    with connection.transaction():
        connection.execute(statement("foundation/fingerprint_transaction"))
        differences = fingerprints.differences(before, fingerprints.take(connection, like=before))
        connection.execute(statement("foundation/fingerprint_settings"))
        differing: dict[str, list[str]] = {}
        for one in differences:
            differing.setdefault(one.table, []).append(one.range)
        judged = [(table, taken, differing.pop(taken.name, [])) for table, taken in _judged(connection, before)]
        losses = tuple(_loss(connection, table, taken, before.taken_at, parts) for table, taken, parts in judged)
    return losses, sum(map(len, differing.values()))


def _judged(connection: Connection, fingerprint: Fingerprint) -> Iterator[tuple[HashedTable, TableFingerprint]]:
    taken = {table.name: table for table in fingerprint.tables.values() if table.name in TABLES and table.key}
    for table in hashed_tables(connection, [(one.schema, one.name) for one in taken.values()]):
        before = taken.pop(table.name)
        yield table.only([column.name for column in before.columns]), before
    if taken:
        raise VerificationError(f"The table {', '.join(taken)} of the fingerprint does not exist any more.")


def _loss(
    connection: Connection, table: HashedTable, before: TableFingerprint, taken_at: datetime, differing: list[str]
) -> Loss:
    """Compares the differing ranges row by row."""
    if changed := [part for part in differing if ".." not in part]:
        raise NotComparableError(
            f"{table.label} cannot be compared with the fingerprint, because its {', '.join(changed)} changed since. Take a "
            f"new fingerprint (job phase_0_preparation, asset {ASSET})."
        )
    counts = dict.fromkeys(("gone", "altered", "written_since", "added", "deleted"), 0)
    keys: list[int] = []
    deleted: set[int] | None = None
    query = statement("foundation/legacy_rows_compare", **_names(table))
    for part in differing:
        low, high = _bounds(part)
        values = {"taken_at": taken_at, "table_name": before.name, "first_key": low, "last_key": high}
        with reading(connection, table.label):
            row = connection.execute(query, values).fetchone()
        assert row is not None  # an aggregate without GROUP BY
        if part in before.ranges and not row["remembered"]:
            raise NotComparableError(
                f"The rows of the fingerprint of {table.label} were not kept. Take a new one (job phase_0_preparation)."
            )
        if row["gone"] and deleted is None:
            deleted = _deleted(connection, table, taken_at)
        gone = [key for key in row["gone"] or () if key not in (deleted or ())]
        counts["gone"] += len(gone)
        counts["deleted"] += len(row["gone"] or ()) - len(gone)
        for name in ("altered", "written_since", "added"):
            counts[name] += row[name]
        keys += [*gone, *(row["altered_keys"] or ())][:SHOWN_IDS]
    return Loss(
        table=table.label,
        rows=before.rows,
        gone=counts["gone"],
        deleted_by_the_service=counts["deleted"],
        altered=counts["altered"],
        written_since=counts["written_since"],
        added=counts["added"],
        keys=tuple(keys[:SHOWN_IDS]) if _is_single(table) else (),
    )


def _deleted(connection: Connection, table: HashedTable, taken_at: datetime) -> set[int]:
    """The keys of the rows that the service deleted since, as the audit log has them."""
    columns = sql.SQL(", ").join(sql.SQL("{} bigint").format(sql.Identifier(name)) for name in _key(table))
    query = statement("foundation/legacy_rows_deleted", place=_place(table), key_columns=columns)
    rows = connection.execute(query, {"table_name": table.name, "taken_at": taken_at})
    return {row["key"] for row in rows}


def _names(table: HashedTable) -> dict[str, str | sql.Composable]:
    stamps = [hashed for hashed in table.columns if hashed.column.name == STAMP]
    values = sql.SQL(", ").join(hashed.expression for hashed in table.columns)
    stamp = sql.SQL("extract(epoch FROM {})::double precision").format(sql.Identifier(STAMP))
    return {
        "table": sql.Identifier(table.schema, table.name),
        "key": sql.Identifier(str(table.key)),
        "place": _place(table),
        "hash": sql.SQL("hash_record_extended(ROW({}), 0)").format(values),
        "stamp": stamp if stamps else sql.SQL("NULL::double precision"),
    }


def _key(table: HashedTable) -> list[str]:
    return [column.name for column in TABLES[table.name].primary_key]


def _is_single(table: HashedTable) -> bool:
    return len(_key(table)) == 1


def _place(table: HashedTable) -> sql.Composable:
    """A number for the key of a row: the key itself, or the hash of its columns."""
    if _is_single(table):
        return sql.SQL("{}::bigint").format(sql.Identifier(*_key(table)))
    parts = [sql.SQL("int8send({}::bigint)").format(sql.Identifier(name)) for name in _key(table)]
    return sql.SQL("hash_record_extended(ROW({}), 0)").format(sql.SQL(", ").join(parts))


def _bounds(part: str) -> tuple[int, int]:
    """The first and the last key of a range; the outermost ranges end where bigint does."""
    low, high = part.split("..")
    return max(int(low), LOWEST_ID), min(int(high), HIGHEST_ID)
