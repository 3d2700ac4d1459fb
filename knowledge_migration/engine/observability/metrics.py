"""The dashboard queries (strategy §4.2, §6.4, §11.2, appendix C) and their samples in `migration.metric`, for trends.

Each numeric column of a query with a `label` column is a metric `<query>.<column>`; the other queries are tables. Windows
count what users' extractions proposed; the backfill's proposals are left out of all of them (ERRATA V21).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.cutover.evaluation import STATES, last_verdicts
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.status.backfill import linked_rows
from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.flags import Flags, present_flags

if TYPE_CHECKING:
    import pandas as pd

SESSION = {"statement_timeout": "20000"}
STORE = "migration.metric"
DAY_SECONDS = 86_400.0

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class DashboardQuery:
    """One query: its title, over how many seconds of extractions it counts, and whether it is sampled."""

    name: str
    title: str
    window_seconds: float | None = None
    sampled: bool = True

    def rows(self, connection: Connection, *, threshold: float) -> Rows:
        """The result; `threshold` is the confidence from which a proposal is approved automatically."""
        name = f"observability/dashboard_{self.name}"
        if self.window_seconds is None:
            return connection.execute(text_of(name)).fetchall()
        parameters = {
            "window_seconds": self.window_seconds,
            "threshold": threshold,
            "proposal": audit.PROPOSAL,
            "auto_approve": audit.AuditAction.AUTO_APPROVE_PROPOSAL,
        }
        query = statement(name, since=statement("observability/proposals_since"))
        return connection.execute(query, parameters).fetchall()


QUERIES: tuple[DashboardQuery, ...] = (
    DashboardQuery("backlog", "Review queue: pending proposals and their age"),
    DashboardQuery("rates", "Extractions and proposals of the last hour, by mode and outcome"),
    DashboardQuery("new_knowledge", "Topics and atoms created in the last hour"),
    DashboardQuery("status_distribution", "Proposals of 24 hours by status, with average confidence", DAY_SECONDS),
    DashboardQuery("auto_approval", "Automatic approval in 24 hours: rate, and accuracy", DAY_SECONDS),
    DashboardQuery("duplicates", "Duplicate detection in 24 hours: rate, and average score", DAY_SECONDS),
    DashboardQuery("review_velocity", "Reviews of 24 hours: number, and median wait", DAY_SECONDS),
    DashboardQuery("review_by_day", "Reviews by day, one week", 7 * DAY_SECONDS, sampled=False),
    DashboardQuery("waiting_longest", "Pending for more than a day", sampled=False),
    DashboardQuery("runs", "The latest extractions", sampled=False),
    DashboardQuery(
        "sure_but_not_approved", "High confidence, not approved automatically, one week", 7 * DAY_SECONDS, sampled=False
    ),
)


@dataclass(frozen=True)
class Sample:
    """One value of one metric."""

    metric: str
    label: str
    value: float


@dataclass(frozen=True)
class Sampling:
    """The samples of one moment; `tables` holds the rows of each query by its name."""

    at: datetime
    samples: tuple[Sample, ...]
    tables: Mapping[str, Rows]


def sample(
    database: Database, initial_flags: Flags, *, metrics: list[str], kept_days: int, with_tables: bool = False
) -> Sampling:
    """Measures in one snapshot, stores the samples, and deletes those that are older than `kept_days`.

    `metrics` are the gates whose last verdict is stored too; `initial_flags` apply until the flags are set. Raises
    `PreconditionError` before phase 1, `UnreachableError`, and psycopg's error for a statement beyond its timeout; then
    nothing is stored.
    """
    with database.connect("metrics", settings=SESSION) as connection:
        require_phase_1(connection)
        if not exists(connection, STORE):
            raise PreconditionError(f"The table {STORE} does not exist: run phase 1 (job phase_1_schema) again.")
        with database.begin() as transaction:
            flags, _ = present_flags(transaction, initial_flags)
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            moment = connection.execute(text_of("foundation/moment")).fetchone()
            assert moment is not None  # a SELECT without FROM
            tables = {
                query.name: query.rows(connection, threshold=flags.auto_approve_threshold)
                for query in QUERIES
                if query.sampled or with_tables
            }
            gates = tuple(_gates(connection, metrics))
        samples = (*_of_tables(tables), *_progress(connection), *gates)
        _store(connection, moment["moment"], samples)
        connection.execute(text_of("observability/metric_forget"), {"days": kept_days})
    return Sampling(moment["moment"], samples, tables)


def metric_history(connection: Connection, since: datetime) -> "pd.DataFrame":
    """Every sample since a moment: metric, label, measured_at, value."""
    import pandas as pd

    rows = connection.execute(text_of("observability/metric_history"), {"since": since}).fetchall()
    return pd.DataFrame(rows, columns=["metric", "label", "measured_at", "value"])


def _of_tables(tables: Mapping[str, Rows]) -> Iterator[Sample]:
    """Each number of each sampled row; a share of nothing has no value and is no sample."""
    for query in QUERIES:
        for row in tables[query.name] if query.sampled else ():
            for column, value in row.items():
                if column != "label" and value is not None:
                    yield Sample(f"{query.name}.{column}", row["label"], float(value))


def _progress(connection: Connection) -> Iterator[Sample]:
    """Linked rows and all rows of each table; estimated where counting takes too long."""
    for kind in KINDS:
        rows = linked_rows(connection, kind)
        yield Sample("progress.linked", kind.table, rows.linked)
        yield Sample("progress.rows", kind.table, rows.total)


def _gates(connection: Connection, metrics: list[str]) -> Iterator[Sample]:
    for last in last_verdicts(connection, metrics, STATES):
        if last.value is not None:
            yield Sample("gate", last.metric, last.value)


def _store(connection: Connection, at: datetime, samples: tuple[Sample, ...]) -> None:
    connection.execute(
        text_of("observability/metric_insert"),
        {
            "at": at,
            "metrics": [one.metric for one in samples],
            "labels": [one.label for one in samples],
            "values": [float(one.value) for one in samples],
        },
    )
