"""Incremental value verification (strategy §9.1, DESIGN §9.3): compares key ranges written since the last pass.

A pass records the transaction below which all had ended. The next pass compares the ranges that row versions show as written
since, and the ranges that differed before. It reads a difference again after a delay, because an application may write row
and proposal in two transactions. Reads only; resumes from the last completed pass.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.validation import values
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

KIND = "value_verification"
RANGE_SHIFT = 13
"""A key range is 2^13 = 8,192 ids; 100 million rows have 12,000 ranges."""

MOSTLY = 0.5
"""Above this share of a table's ranges, one join over the whole table is faster."""

SESSION = {"statement_timeout": "0", "default_transaction_read_only": "on", "work_mem": "64MB", "jit": "off"}

OF_ALL, OF_RANGES, OF_IDS = (
    "validation/verification_all_rows",
    "validation/verification_rows_in_ranges",
    "validation/verification_rows_by_id",
)


@dataclass(frozen=True)
class TablePass:
    """The result of a pass over one table. `differing` are the ids that differed at both readings."""

    entity: str
    table: str
    whole: bool
    ranges: int
    linked: int
    compared: int
    settled: int
    differing: tuple[int, ...]
    seconds: float

    def as_row(self) -> dict[str, Any]:
        """For a table and the evidence."""
        return {
            "table": self.table,
            "scope": "whole table" if self.whole else "written since the last pass",
            "key ranges": self.ranges,
            "linked rows": self.linked,
            "compared rows": self.compared,
            "differed at first reading only": self.settled,
            "differing rows": len(self.differing),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class VerificationPass:
    """One pass over both tables; `why_whole` is the reason to compare the whole tables, None otherwise."""

    began_at: datetime
    whole_at: datetime
    why_whole: str | None
    moment: dict[str, str]
    tables: tuple[TablePass, ...]

    @property
    def passed(self) -> bool:
        """True when no row differed."""
        return not any(one.differing for one in self.tables)

    def to_evidence(self) -> dict[str, Any]:
        """As JSON, for the evidence: the start of the next pass, and the results."""
        return {
            **self.moment,
            "shift": RANGE_SHIFT,
            "began_at": self.began_at.isoformat(),
            "whole_at": self.whole_at.isoformat(),
            "why_whole": self.why_whole,
            "passed": self.passed,
            "tables": [one.as_row() for one in self.tables],
            "differing_ranges": {
                one.entity: sorted({row >> RANGE_SHIFT for row in one.differing}) for one in self.tables
            },
        }


def verify(
    database: Database,
    *,
    whole: bool = False,
    whole_every_days: float,
    settle_seconds: float,
    dagster_run_id: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> VerificationPass:
    """Runs one pass and records it as evidence.

    Raises `PreconditionError` before phase 1, `VerificationError` when values cannot be judged (see `values`).
    """
    with database.connect("value verification", settings=SESSION) as connection:
        require_phase_1(connection)
        began_at = database.now()
        moment = dict(_one(connection, text_of("validation/verification_moment"), {}))
        last = evidence.latest(connection, KIND)
        why = "it was requested" if whole else _why_whole(connection, last, moment, began_at, whole_every_days)
        since = last.content if last and why is None else None
        done = tuple(_table(connection, kind, since, settle_seconds, sleep) for kind in KINDS)
    whole_at = began_at if since is None else datetime.fromisoformat(since["whole_at"])
    finished = VerificationPass(began_at, whole_at, why, moment, done)
    with database.connect("value verification") as connection:
        evidence.record(connection, KIND, finished.to_evidence(), dagster_run_id=dagster_run_id)
    return finished


def verification_outcome(connection: Connection, *, max_age_hours: float, sample: int) -> CheckOutcome:
    """Whether the latest pass found no difference; raises `PreconditionError` when there is none or it is too old."""
    recorded = evidence.require(connection, KIND, made_by="asset value_verification", max_age_hours=max_age_hours)
    rows = recorded.content["tables"]
    ranges = [
        {"table": f"{entity}s", "from id": key << RANGE_SHIFT, "below id": (key + 1) << RANGE_SHIFT}
        for entity, keys in recorded.content["differing_ranges"].items()
        for key in keys
    ]
    return CheckOutcome(
        "no_value_differs",
        sum(row["differing rows"] for row in rows),
        tuple(ranges[:sample]),
        "Every linked row that was not written since equals its proposal, value by value.",
        "Do not promote. The checks topic_ and atom_proposal_values_equal_the_entity name the rows and columns in these ranges.",
        {
            "verified_at": recorded.recorded_at,
            "whole_at": recorded.content["whole_at"],
            "compared": sum(row["compared rows"] for row in rows),
        },
    )


def _why_whole(
    connection: Connection,
    last: evidence.Evidence | None,
    moment: dict[str, str],
    now: datetime,
    whole_every_days: float,
) -> str | None:
    if last is None:
        return "there is no earlier pass"
    before = last.content
    if (before["cluster"], before["database_oid"]) != (moment["cluster"], moment["database_oid"]):
        return "the last pass was of another database; this one was restored since"
    if before["shift"] != RANGE_SHIFT:
        return "the last pass used another width of key ranges"
    countable = _one(connection, text_of("validation/verification_countable"), {"horizon": before["horizon"]})
    if not countable["countable"]:
        return "the transaction ids of the last pass have wrapped around"
    days = (now - datetime.fromisoformat(before["whole_at"])).total_seconds() / 86_400
    return f"the last whole pass is {days:.1f} days old" if days >= whole_every_days else None


def _table(
    connection: Connection,
    kind: EntityKind,
    since: dict[str, Any] | None,
    settle_seconds: float,
    sleep: Callable[[float], None],
) -> TablePass:
    began = time.perf_counter()
    given = {**values.parameters(connection, kind), "shift": RANGE_SHIFT}
    ranges = _written(connection, kind, since) if since and given["versions_kept"] else None
    rows = (
        _compared(connection, kind, OF_ALL, given)
        if ranges is None
        else _compared(connection, kind, OF_RANGES, {**given, "ranges": ranges})
    )
    linked, compared, unstamped = (
        sum(row[name] for row in rows) for name in ("linked", "compared", "written_since_unstamped")
    )
    if ranges is None:
        values.require_judged_pairs(kind, linked, compared, unstamped)
    differed = [one for row in rows for one in row["differing"]]
    differing: tuple[int, ...] = ()
    if differed:
        sleep(settle_seconds)
        again = _compared(connection, kind, OF_IDS, {**given, "ids": differed})
        differing = tuple(sorted(one for row in again for one in row["differing"]))
    values.require_row_versions(kind, given, len(differing), differing[:20])
    return TablePass(
        entity=kind.name,
        table=kind.table,
        whole=ranges is None,
        ranges=len(rows),
        linked=linked,
        compared=compared,
        settled=len(differed) - len(differing),
        differing=differing,
        seconds=time.perf_counter() - began,
    )


def _written(connection: Connection, kind: EntityKind, since: dict[str, Any]) -> list[int] | None:
    """The ranges written since or differing at the last pass; None when they are most of the table."""
    query = statement("validation/verification_changed_ranges", **values.tables(kind))
    written = connection.execute(query, {"shift": RANGE_SHIFT, "horizon": since["horizon"]}).fetchall()
    ranges = {row["key_range"] for row in written} | set(since["differing_ranges"][kind.name])
    extent = _one(
        connection,
        statement("validation/verification_ranges", **values.tables(kind)),
        {"shift": RANGE_SHIFT},
    )
    return None if len(ranges) > max(1, MOSTLY * extent["ranges"]) else sorted(ranges)


def _compared(connection: Connection, kind: EntityKind, rows: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    names = values.names(kind)
    return connection.execute(
        statement("validation/verification_compared_ranges", rows=statement(rows, table=names["table"]), **names), given
    ).fetchall()


def _one(connection: Connection, query: str | sql.Composed, given: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(query, given).fetchone()
    assert row is not None  # each of them returns one
    return row
