"""The audit of the data before anything is changed (strategy §2.1, "Identify Data Quality Issues").

Runs every declared finding (`data_quality_findings`) over one snapshot: exact counts, bounded samples, and what each
means for the backfill. It reads only, repairs nothing and decides nothing that the declaration does not. It holds one
REPEATABLE READ, READ ONLY transaction while it counts, so that counts fit each other; run it again at any time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg import IsolationLevel
from psycopg.rows import DictRow

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.validation.data_quality_findings import (
    ATOM_TYPES,
    EMBEDDING_DIMENSIONS,
    FINDINGS,
    LINK_TYPES,
    Effect,
    Finding,
)
from knowledge_migration.engine.validation.near_duplicates import near_duplicates
from knowledge_migration.knowledge.entity_kinds import KINDS

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str], None]


@dataclass(frozen=True)
class FindingResult:
    """How often a finding was met: `count` of `of` rows (or pairs of topics), and its first rows."""

    finding: Finding
    count: int
    of: int
    sample: tuple[dict[str, Any], ...]

    @property
    def share_percent(self) -> float:
        """The share of the table that is affected, 0 to 100; 0 for an empty table."""
        return 100.0 * self.count / self.of if self.of else 0.0


@dataclass(frozen=True)
class DataQualityReport:
    """The results of all findings, in the order of their declaration, also of those that were not met."""

    results: tuple[FindingResult, ...]

    def met(self, effect: Effect) -> tuple[FindingResult, ...]:
        """The findings of that effect of which there is at least one row."""
        return tuple(result for result in self.results if result.count and result.finding.effect == effect)

    @property
    def blocking(self) -> tuple[FindingResult, ...]:
        """The findings that forbid the backfill to start; empty when it may."""
        return self.met("blocks")

    def of(self, name: str) -> FindingResult:
        """The result of one finding, by its name."""
        return next(result for result in self.results if result.finding.name == name)

    def as_frame(self) -> "pd.DataFrame":
        """One row a finding: finding, table, count, of, share_percent, effect, reason, remedy."""
        import pandas as pd

        columns = ["finding", "table", "count", "of", "share_percent", "effect", "reason", "remedy"]
        return pd.DataFrame([_frame_row(result) for result in self.results], columns=columns)


def report(
    connection: Connection, *, sample: int, similarity_percent: float, progress: Progress | None = None
) -> DataQualityReport:
    """Runs all findings; `connection` is in autocommit and outside a transaction, `sample` rows (at least 1) are shown.

    Names are compared after the snapshot is given back: comparing 10,800 takes a second, but 100,000 a minute or more.
    """
    if sample < 1:
        raise ValueError(f"sample is {sample}: at least one row is needed to carry the count of a finding")
    with _snapshot(connection):
        rows_of = connection.execute(text_of("data_quality/table_rows")).fetchone() or {}
        found = {finding: _rows(connection, finding, sample, progress) for finding in FINDINGS}
    results = (
        _of_pairs(finding, rows, similarity_percent, sample, progress)
        if finding.names_compared
        else _of_rows(finding, rows, rows_of[finding.table])
        for finding, rows in found.items()
    )
    return DataQualityReport(tuple(results))


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """One read-only view of all tables; the session's own settings come back afterwards."""
    before = connection.isolation_level, connection.read_only
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction():
            yield
    finally:
        connection.isolation_level, connection.read_only = before


def _rows(connection: Connection, finding: Finding, sample: int, progress: Progress | None) -> list[DictRow]:
    if progress:
        progress(f"looking for {finding.name.replace('_', ' ')}")
    rows = statement(finding.statement, table=f"public.{finding.table}")
    query = rows if finding.names_compared else statement("data_quality/counted", rows=rows)
    return connection.execute(query, {"sample": sample, **_limits()}).fetchall()


def _limits() -> dict[str, Any]:
    """What the application and the proposals allow, as the parameters of the SQL files."""
    widths = {f"{kind.name}_{column}_width": width for kind in KINDS for column, width in kind.widths.items()}
    known = {"atom_types": list(ATOM_TYPES), "link_types": list(LINK_TYPES)}
    return {**widths, **known, "embedding_dimensions": EMBEDDING_DIMENSIONS}


def _of_rows(finding: Finding, rows: list[DictRow], of: int) -> FindingResult:
    count = rows[0]["found"] if rows else 0
    shown = ({key: value for key, value in row.items() if key != "found"} for row in rows)
    return FindingResult(finding, count, of, tuple(shown))


def _of_pairs(
    finding: Finding, rows: list[DictRow], similarity_percent: float, sample: int, progress: Progress | None
) -> FindingResult:
    names = [(row["id"], row["name"]) for row in rows]
    found = near_duplicates(names, similarity_percent=similarity_percent, sample=sample, progress=progress)
    return FindingResult(finding, found.count, found.compared, tuple(asdict(pair) for pair in found.pairs))


def _frame_row(result: FindingResult) -> dict[str, Any]:
    finding = result.finding
    return {
        "finding": finding.name,
        "table": finding.table,
        "count": result.count,
        "of": result.of,
        "share_percent": result.share_percent,
        "effect": finding.effect,
        "reason": finding.reason,
        "remedy": finding.remedy,
    }
