"""What a fingerprint is: its figures, its form as JSON evidence, and how two of them are compared. No database here."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.user_tables import Column

MISSING = "missing"


@dataclass(frozen=True)
class RangeFingerprint:
    """How many rows a range holds, and the sum of their hashes."""

    rows: int
    checksum: int

    def __str__(self) -> str:
        return f"{self.rows} rows, checksum {self.checksum}"


@dataclass(frozen=True)
class TableFingerprint:
    """One table: what was hashed, and the result by range of `range_ids` keys ("10000..19999"; "all" without a key)."""

    schema: str
    name: str
    key: str | None
    range_ids: int
    columns: tuple[Column, ...]
    ranges: Mapping[str, RangeFingerprint]

    @property
    def rows(self) -> int:
        """The rows of the whole table."""
        return sum(part.rows for part in self.ranges.values())


@dataclass(frozen=True)
class Fingerprint:
    """The tables by label, as they were at one moment."""

    tables: Mapping[str, TableFingerprint]
    server_version: str
    taken_at: datetime

    @property
    def rows(self) -> Mapping[str, int]:
        """The number of rows by table."""
        return {name: table.rows for name, table in self.tables.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that is compared: equal for two fingerprints of the same data."""
        return hashlib.sha256(json.dumps(self.to_evidence()["tables"], sort_keys=True).encode()).hexdigest()

    def to_evidence(self) -> dict[str, Any]:
        """All of it as JSON; checksums are text, because they exceed what a JSON number holds exactly."""
        return {
            "taken_at": self.taken_at.isoformat(),
            "server_version": self.server_version,
            "tables": {name: _table_to_evidence(table) for name, table in self.tables.items()},
        }

    @classmethod
    def from_evidence(cls, evidence: Mapping[str, Any]) -> "Fingerprint":
        """The fingerprint that `to_evidence` wrote."""
        return cls(
            tables={name: _table_from_evidence(table) for name, table in evidence["tables"].items()},
            server_version=evidence["server_version"],
            taken_at=datetime.fromisoformat(evidence["taken_at"]),
        )


@dataclass(frozen=True)
class Difference:
    """One place where two fingerprints disagree: a range of a table, one of its columns, or the whole table."""

    table: str
    range: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.table} {self.range}: {self.before} before, {self.after} after"


def differences(before: Fingerprint, after: Fingerprint) -> list[Difference]:
    """Where `after` is not what `before` says, in the columns and tables of `before`; empty when it is.

    Raises `VerificationError` when the two cannot be compared because they were taken over different columns or ranges.
    """
    found: list[Difference] = []
    for name, table in before.tables.items():
        other = after.tables.get(name)
        if other is None:
            found.append(Difference(name, "table", f"{table.rows} rows", MISSING))
        else:
            found.extend(_table_differences(name, table, other))
    return found


def _table_differences(name: str, before: TableFingerprint, after: TableFingerprint) -> Iterator[Difference]:
    _refuse_what_cannot_be_compared(name, before, after)
    types = {column.name: column.type for column in after.columns}
    for column in before.columns:
        if types.get(column.name) != column.type:
            yield Difference(name, f"column {column.name}", column.type, types.get(column.name, MISSING))
    if before.columns == after.columns:
        for part in dict.fromkeys([*before.ranges, *after.ranges]):
            old, new = before.ranges.get(part), after.ranges.get(part)
            if old != new:
                yield Difference(name, part, str(old or MISSING), str(new or MISSING))
    elif before.rows != after.rows:
        yield Difference(name, "rows", str(before.rows), str(after.rows))


def _refuse_what_cannot_be_compared(name: str, before: TableFingerprint, after: TableFingerprint) -> None:
    known = {column.name for column in before.columns}
    unknown = [column.name for column in after.columns if column.name not in known]
    if unknown:
        raise _incomparable(name, f"also covers {', '.join(unknown)}")
    if before.range_ids != after.range_ids:
        raise _incomparable(name, f"has ranges of {after.range_ids} ids, not of {before.range_ids}")


def _incomparable(name: str, why: str) -> VerificationError:
    return VerificationError(
        f"The second fingerprint of {name} {why}, so the two cannot be compared. "
        "Take the second one like the first: take(connection, like=before)."
    )


def _table_to_evidence(table: TableFingerprint) -> dict[str, Any]:
    return {
        "schema": table.schema,
        "name": table.name,
        "key": table.key,
        "range_ids": table.range_ids,
        "columns": [[column.name, column.type] for column in table.columns],
        "ranges": {name: [part.rows, str(part.checksum)] for name, part in table.ranges.items()},
    }


def _table_from_evidence(evidence: Mapping[str, Any]) -> TableFingerprint:
    return TableFingerprint(
        schema=evidence["schema"],
        name=evidence["name"],
        key=evidence["key"],
        range_ids=evidence["range_ids"],
        columns=tuple(Column(*column) for column in evidence["columns"]),
        ranges={name: RangeFingerprint(part[0], int(part[1])) for name, part in evidence["ranges"].items()},
    )
