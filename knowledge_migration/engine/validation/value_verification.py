"""Value verification again and again (strategy §9.1, DESIGN §9.3): only key ranges that were written since the last pass.

A pass remembers the transaction below which everything had ended when it began. The next one asks the row versions of both
tables which key ranges were written from there on, and compares those pair by pair, with the ranges that differed before. A
difference is read again after a delay, for an application may write row and proposal one after the other. The whole is
compared when the last whole pass is old, when a restore has begun the transactions anew, or when most of it was written.
Reads only, and leaves one `value_verification` in the evidence; broken off, the next pass begins where the last one ended.
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
from knowledge_migration.engine.validation import value_comparison
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

KIND = "value_verification"
RANGE_SHIFT = 13
"""A key range is 2^13 = 8,192 ids: a batch of a user touches one, and 100 million rows have 12,000."""

MOSTLY = 0.5
"""Beyond this share of a table's ranges one join over all of it is faster than one range after the other."""

SESSION = {"statement_timeout": "0", "default_transaction_read_only": "on", "work_mem": "64MB", "jit": "off"}

OF_ALL, OF_RANGES, OF_IDS = (
    "validation/verification_all_rows",
    "validation/verification_rows_in_ranges",
    "validation/verification_rows_by_id",
)


@dataclass(frozen=True)
class TablePass:
    """What a pass found in one table. `differing` are the ids that differed at both readings."""

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
        """For a table of the UI."""
        return {
            "table": self.table,
            "compared as": "the whole" if self.whole else "what was written since",
            "key ranges": self.ranges,
            "linked rows": self.linked,
            "compared rows": self.compared,
            "differed, then settled": self.settled,
            "differing rows": len(self.differing),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class VerificationPass:
    """One pass over both tables; `why_whole` says why all of it was compared, None where it was not."""

    began_at: datetime
    whole_at: datetime
    why_whole: str | None
    moment: dict[str, str]
    tables: tuple[TablePass, ...]

    @property
    def passed(self) -> bool:
        """True when nothing differed."""
        return not any(one.differing for one in self.tables)

    def to_evidence(self) -> dict[str, Any]:
        """For the evidence: what the next pass starts from, and what was found."""
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
    """One pass, kept in the evidence.

    Raises `PreconditionError` before phase 1, `VerificationError` when values cannot be judged (see `value_comparison`).
    """
    with database.connect("value verification", settings=SESSION) as connection:
        require_phase_1(connection)
        began_at = database.now()
        moment = dict(_one(connection, text_of("validation/verification_moment"), {}))
        last = evidence.latest(connection, KIND)
        why = "it was asked for" if whole else _why_whole(connection, last, moment, began_at, whole_every_days)
        since = last.content if last and why is None else None
        done = tuple(_table(connection, kind, since, settle_seconds, sleep) for kind in KINDS)
    whole_at = began_at if since is None else datetime.fromisoformat(since["whole_at"])
    finished = VerificationPass(began_at, whole_at, why, moment, done)
    with database.connect("value verification") as connection:
        evidence.record(connection, KIND, finished.to_evidence(), dagster_run_id=dagster_run_id)
    return finished


def verification_outcome(connection: Connection, *, max_age_hours: float, sample: int) -> CheckOutcome:
    """Whether the latest pass is fresh and found nothing; raises `PreconditionError` when there is none or it is too old."""
    found = evidence.require(connection, KIND, made_by="asset value_verification", max_age_hours=max_age_hours)
    rows = found.content["tables"]
    ranges = [
        {"table": f"{entity}s", "from id": key << RANGE_SHIFT, "below id": (key + 1) << RANGE_SHIFT}
        for entity, keys in found.content["differing_ranges"].items()
        for key in keys
    ]
    return CheckOutcome(
        "no_value_differs",
        sum(row["differing rows"] for row in rows),
        tuple(ranges[:sample]),
        "Every linked row that nobody has written since equals its proposal, value by value.",
        "Do not promote. The check {one}_proposal_values_equal_the_entity names the rows and columns in the ranges below.",
        {
            "verified_at": found.recorded_at,
            "whole_at": found.content["whole_at"],
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
        return "there was no pass before"
    before = last.content
    if (before["cluster"], before["database_oid"]) != (moment["cluster"], moment["database_oid"]):
        return "the last pass was of another database: this one was restored since"
    if before["shift"] != RANGE_SHIFT:
        return "the last pass had key ranges of another width"
    countable = _one(connection, text_of("validation/verification_countable"), {"horizon": before["horizon"]})
    if not countable["countable"]:
        return "the transactions of the last pass can no longer be told from newer ones"
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
    given = {**value_comparison.parameters(connection, kind), "shift": RANGE_SHIFT}
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
        value_comparison.refuse_blindness(kind, linked, compared, unstamped)
    differed = [one for row in rows for one in row["differing"]]
    differing: tuple[int, ...] = ()
    if differed:
        sleep(settle_seconds)
        again = _compared(connection, kind, OF_IDS, {**given, "ids": differed})
        differing = tuple(sorted(one for row in again for one in row["differing"]))
    value_comparison.refuse_what_cannot_be_told(kind, given, len(differing), differing[:20])
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
    """The ranges to compare: written since, or differing at the last pass; None when that is most of the table."""
    query = statement("validation/verification_changed_ranges", **value_comparison.tables(kind))
    found = connection.execute(query, {"shift": RANGE_SHIFT, "horizon": since["horizon"]}).fetchall()
    ranges = {row["key_range"] for row in found} | set(since["differing_ranges"][kind.name])
    extent = _one(
        connection,
        statement("validation/verification_ranges", **value_comparison.tables(kind)),
        {"shift": RANGE_SHIFT},
    )
    return None if len(ranges) > max(1, MOSTLY * extent["ranges"]) else sorted(ranges)


def _compared(connection: Connection, kind: EntityKind, rows: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    names = value_comparison.names(kind)
    return connection.execute(
        statement("validation/verification_compared_ranges", rows=statement(rows, table=names["table"]), **names), given
    ).fetchall()


def _one(connection: Connection, query: str | sql.Composed, given: dict[str, Any]) -> dict[str, Any]:
    row = connection.execute(query, given).fetchone()
    assert row is not None  # each of them returns one
    return row
