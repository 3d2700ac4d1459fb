"""Samples of every metric, kept in `migration.metric`, so that trends exist. Reads the user's tables in one snapshot."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.cutover.evaluation import STATES, last_verdicts
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.observability.queries import QUERIES
from knowledge_migration.engine.status.backfill import linked_rows
from knowledge_migration.knowledge.entity_kinds import KINDS

if TYPE_CHECKING:
    import pandas as pd

SESSION = {"statement_timeout": "20000"}
STORE = "migration.metric"


@dataclass(frozen=True)
class Sample:
    """One value of one metric."""

    metric: str
    label: str
    value: float


@dataclass(frozen=True)
class Sampling:
    """What was measured at one moment; `tables` are the rows of each query by its name."""

    at: datetime
    samples: tuple[Sample, ...]
    tables: dict[str, list[dict[str, Any]]]


def sample(
    database: Database, *, metrics: list[str], threshold: float, kept_days: int, with_tables: bool = False
) -> Sampling:
    """Measures, keeps, and forgets what is too old; `metrics` are the gates whose last verdict is kept too.

    Raises `PreconditionError` before the schema phase, `UnreachableError`, and what psycopg raises for a statement beyond
    its timeout; nothing is kept then.
    """
    with database.connect("metrics", settings=SESSION) as connection:
        require_phase_1(connection)
        if not exists(connection, STORE):
            raise PreconditionError("The table migration.metric is not there: run phase 1 (job phase_1_schema) again.")
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            moment = connection.execute(text_of("foundation/moment")).fetchone()
            assert moment is not None
            tables = {
                query.name: query.ask(connection, threshold=threshold)
                for query in QUERIES
                if query.sampled or with_tables
            }
            gates = tuple(_gates(connection, metrics))
        samples = (*_of_tables(tables), *_progress(connection), *gates)
        _keep(connection, moment["moment"], samples)
        connection.execute(text_of("observability/metric_forget"), {"days": kept_days})
    return Sampling(moment["moment"], samples, tables)


def latest_metrics(connection: Connection) -> dict[tuple[str, str], tuple[float, datetime]]:
    """The samples of the latest moment by metric and label."""
    rows = connection.execute(text_of("observability/metric_latest"))
    return {(row["metric"], row["label"]): (row["value"], row["measured_at"]) for row in rows}


def metric_history(connection: Connection, since: datetime) -> "pd.DataFrame":
    """Every sample since a moment: metric, label, measured_at, value."""
    import pandas as pd

    rows = connection.execute(text_of("observability/metric_history"), {"since": since}).fetchall()
    return pd.DataFrame(rows, columns=["metric", "label", "measured_at", "value"])


def _of_tables(tables: dict[str, list[dict[str, Any]]]) -> Iterator[Sample]:
    """Each number of each sampled row; what has no value (a share of nothing) is no sample."""
    for query in QUERIES:
        for row in tables[query.name] if query.sampled else ():
            for column, value in row.items():
                if column != "label" and value is not None:
                    yield Sample(f"{query.name}.{column}", row["label"], float(value))


def _progress(connection: Connection) -> Iterator[Sample]:
    """Rows with their proposal and all rows, per table; estimated where counting takes too long."""
    for kind in KINDS:
        found = linked_rows(connection, kind)
        yield Sample("progress.linked", kind.table, found.linked)
        yield Sample("progress.rows", kind.table, found.total)


def _gates(connection: Connection, metrics: list[str]) -> Iterator[Sample]:
    for last in last_verdicts(connection, metrics, STATES):
        if last.value is not None:
            yield Sample("gate", last.metric, last.value)


def _keep(connection: Connection, at: datetime, samples: tuple[Sample, ...]) -> None:
    connection.execute(
        text_of("observability/metric_insert"),
        {
            "at": at,
            "metrics": [one.metric for one in samples],
            "labels": [one.label for one in samples],
            "values": [float(one.value) for one in samples],
        },
    )
