"""Reports unused, redundant and invalid indexes, and drops those that an operator names (strategy §11.3, ERRATA V16, V17).

The report drops nothing: a month's end may need an index that was not used. Drops are concurrent, in bounded attempts; an
index that is unique, backs a constraint or is declared is refused. The audit log keeps each definition before the drop, so
`recreate_index` can restore it. After a crash, run it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from psycopg import sql

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.ddl import build_concurrently, run_concurrently
from knowledge_migration.knowledge import tables
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.settings import SchemaChangeSettings

WORK = "maintaining indexes"

DECLARED = frozenset(
    str(index.name)
    for declared in (
        *(table.indexes for table in (*tables.legacy.sorted_tables, *tables.proposals.sorted_tables)),
        tables.LINK_INDEXES.values(),
    )
    for index in declared
)


@dataclass(frozen=True)
class Index:
    """One index by catalog and statistics; `keys` include operator class, collation and order."""

    table: str
    index: str
    method: str
    definition: str
    bytes: int
    scans: int
    is_unique: bool
    is_primary: bool
    is_valid: bool
    is_marked: bool
    backs_constraint: str | None
    is_partitioned: bool
    keys: tuple[str, ...]
    included: tuple[str, ...]
    condition: str

    @property
    def kept_because(self) -> str | None:
        """The reason for which it is never dropped; None if it may be."""
        if self.is_primary:
            return "it is a primary key"
        if self.backs_constraint:
            return f"it backs constraint {self.backs_constraint}"
        if self.is_unique:
            return "it is unique: it refuses rows even if no query reads it"
        if self.index in DECLARED:
            return "it is declared in knowledge.tables: the service relies on it"
        if self.is_marked:
            return "it is the replica identity of its table, or the order that the table is clustered by"
        if self.is_partitioned:
            return "it belongs to a partitioned table, whose indexes are dropped from the top"
        return None

    def is_duplicate_of(self, other: "Index") -> bool:
        """True if the other index has the same table, keys, order, condition and included columns."""
        return self._comparable(other) and (self.keys, self.included) == (other.keys, other.included)

    def is_prefix_of(self, other: "Index") -> bool:
        """True if the keys of the other index begin with those of this one."""
        longer = len(other.keys) > len(self.keys) and other.keys[: len(self.keys)] == self.keys
        has_columns = set(self.included) <= {*other.included, *(key.split(" ")[0] for key in other.keys)}
        return self._comparable(other) and self.method == "btree" and longer and has_columns

    def _comparable(self, other: "Index") -> bool:
        same = (self.table, self.method, self.condition) == (other.table, other.method, other.condition)
        return same and self.index != other.index and self.is_valid and other.is_valid


@dataclass(frozen=True)
class Finding:
    """A finding about one index; if `may_be_dropped` is False, `why` includes the reason."""

    index: Index
    kind: str
    why: str
    may_be_dropped: bool

    @property
    def as_row(self) -> dict[str, Any]:
        """One row of the report."""
        return {
            "table": self.index.table,
            "index": self.index.index,
            "finding": self.kind,
            "why": self.why,
            "size_mb": round(self.index.bytes / 2**20, 2),
            "scans": self.index.scans,
            "may_be_dropped": self.may_be_dropped,
        }


@dataclass(frozen=True)
class IndexReport:
    """Every index of public, the findings, and the begin of the statistics (None: the creation of the database)."""

    indexes: tuple[Index, ...]
    findings: tuple[Finding, ...]
    statistics_since: datetime | None

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """The names of the indexes with a finding of that kind."""
        return tuple(finding.index.index for finding in self.findings if finding.kind == kind)


@dataclass(frozen=True)
class Maintenance:
    """The dropped indexes, those that did not exist any more, and the current report."""

    dropped: tuple[str, ...]
    gone_already: tuple[str, ...]
    freed_bytes: int
    report: IndexReport


def report_indexes(connection: Connection) -> IndexReport:
    """Reports on every index in public; reads catalog and statistics only."""
    indexes = tuple(_read(connection))
    row = connection.execute(text_of("cleanup/statistics_since")).fetchone()
    return IndexReport(indexes, tuple(findings(indexes)), row["since"] if row else None)


def findings(indexes: Sequence[Index]) -> list[Finding]:
    """The findings about these indexes: invalid, duplicate, prefix of another, unused."""
    return [
        Finding(
            index, kind, f"{why}; kept: {index.kept_because}" if index.kept_because else why, not index.kept_because
        )
        for index in indexes
        for kind, why in _problems(index, indexes)
    ]


def maintain_indexes(
    database: Database,
    limits: SchemaChangeSettings,
    *,
    drop: Sequence[str] = (),
    dry_run: bool = False,
    **attribution: Unpack[audit.Attribution],
) -> Maintenance:
    """Drops the named indexes, one after another, and updates the planner's statistics.

    Raises `PreconditionError` if one of them must not be dropped or never existed (none is dropped then), `BlockedError`
    naming the blocking session, `BusyError` while another operator works; dropped indexes stay dropped.
    """
    with database.connect("cleanup indexes") as connection, advisory_lock(connection, WORK):
        there = {index.index: index for index in _read(connection)}
        wanted = list(dict.fromkeys(drop))
        _refuse(connection, wanted, there)
        going = [there[name] for name in wanted if name in there]
        if not dry_run:
            for index in going:
                _drop(connection, index, limits, attribution)
            connection.execute(text_of("cleanup/analyze"))
        gone = tuple(name for name in wanted if name not in there)
        freed = sum(index.bytes for index in going)
        return Maintenance(tuple(index.index for index in going), gone, freed, report_indexes(connection))


def recreate_index(
    database: Database, name: str, limits: SchemaChangeSettings, **attribution: Unpack[audit.Attribution]
) -> bool:
    """Builds an index again that `maintain_indexes` dropped, concurrently, from the audit log; False if it exists.

    Raises `PreconditionError` for any other index, `BlockedError` naming the session that the build waits for.
    """
    with database.connect("cleanup indexes") as connection, advisory_lock(connection, WORK):
        there = {index.index: index for index in _read(connection)}
        if name in there and there[name].is_valid:
            return False
        definition = _dropped(connection, name)
        if definition is None:
            raise PreconditionError(
                f"Index {name} was not dropped by this project, so its definition is not known here."
            )
        if name in there:
            _drop_now(connection, there[name], limits)
        audit.record(connection, AuditAction.RECREATE_INDEX, name, after={"definition": definition}, **attribution)
        build = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
        build_concurrently(connection, build, name, limits)
        return True


def validity_outcome(connection: Connection, *, sample: int = 20) -> CheckOutcome:
    """Every index in public is valid, and every declared index exists."""
    indexes = {index.index: index for index in _read(connection)}
    invalid = [{"index": name, "problem": "invalid"} for name, index in indexes.items() if not index.is_valid]
    ours = {str(index.name) for table in tables.proposals.sorted_tables for index in table.indexes}
    ours |= {str(index.name) for index in tables.LINK_INDEXES.values()}
    missing = [{"index": name, "problem": "missing"} for name in sorted(ours - indexes.keys())]
    broken = [*invalid, *missing]
    return CheckOutcome(
        name="every_index_is_valid",
        count=len(broken),
        sample=tuple(broken[:sample]),
        description="Every index of the application and of the proposal workflow is valid, and those of this project all exist.",
        remedy=(
            "Run phase 1 again for an index of this project (it rebuilds it); restore another with knowledge-migration "
            "cleanup indexes --recreate NAME, or drop it with --drop NAME."
        ),
        numbers={
            "indexes": len(indexes),
            "megabytes": round(sum(index.bytes for index in indexes.values()) / 2**20, 1),
        },
    )


def _read(connection: Connection) -> list[Index]:
    rows = connection.execute(text_of("cleanup/indexes")).fetchall()
    return [Index(**{**row, "keys": tuple(row["keys"]), "included": tuple(row["included"])}) for row in rows]


def _problems(index: Index, indexes: Sequence[Index]) -> list[tuple[str, str]]:
    if not index.is_valid:
        return [("invalid", "a build or a drop was interrupted: writes maintain it and no query uses it")]
    problems = []
    twins = [other for other in indexes if index.is_duplicate_of(other) and _goes_first(index, other)]
    longer = [other for other in indexes if index.is_prefix_of(other)]
    if twins:
        problems.append(("duplicate", f"the same as {twins[0].index}"))
    elif longer and not index.is_unique:
        problems.append(("prefix", f"{longer[0].index} begins with the same columns"))
    if not index.scans and not index.is_unique and not index.backs_constraint:
        problems.append(("unused", "no scan since the statistics began"))
    return problems


def _goes_first(index: Index, other: Index) -> bool:
    """Of two equal indexes, True for the one to report: the less needed one, else the later name."""
    rank = (index.kept_because is not None, index.is_unique, index.backs_constraint is not None)
    others = (other.kept_because is not None, other.is_unique, other.backs_constraint is not None)
    return (rank, other.index) < (others, index.index)


def _refuse(connection: Connection, wanted: Sequence[str], there: Mapping[str, Index]) -> None:
    refused = [f"{name} ({there[name].kept_because})" for name in wanted if name in there and there[name].kept_because]
    unknown = [name for name in wanted if name not in there and _dropped(connection, name) is None]
    if refused:
        raise PreconditionError(f"These indexes are not dropped: {'; '.join(refused)}. Nothing was changed.")
    if unknown:
        raise PreconditionError(
            f"There is no index {', '.join(unknown)} in schema public, and none was dropped here. The report "
            "(knowledge-migration cleanup indexes) names those that are. Nothing was changed."
        )


def _drop(connection: Connection, index: Index, limits: SchemaChangeSettings, attribution: audit.Attribution) -> None:
    before = {"table": index.table, "definition": index.definition, "bytes": index.bytes, "scans": index.scans}
    audit.record(connection, AuditAction.DROP_INDEX, index.index, before=before, **attribution)
    _drop_now(connection, index, limits)
    audit.record(connection, AuditAction.INDEX_DROPPED, index.index, **attribution)


def _drop_now(connection: Connection, index: Index, limits: SchemaChangeSettings) -> None:
    command = statement("cleanup/drop_index", index=sql.Identifier(index.index))
    run_concurrently(connection, command, (index.table,), limits, f"Dropping index {index.index}")


def _dropped(connection: Connection, name: str) -> str | None:
    row = connection.execute(
        text_of("cleanup/dropped_index"), {"subject": name, "action": AuditAction.DROP_INDEX}
    ).fetchone()
    return str(row["definition"]) if row else None
