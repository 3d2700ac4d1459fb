"""The service's Prometheus metrics: those of strategy §4.2 by their names there, and those that an operator watches.

The service reads its own tables when it is scraped, and asks a `StatusCollector`, if it has one, about the migration. It
rests 200 times as long as a reading took: under 0.5 % of a core at any table size. A failed reading exports no old value.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

import psycopg
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from knowledge_migration.knowledge.flags import Flags, Mode, relation_exists
from knowledge_migration.knowledge.stages import stage_of
from knowledge_migration.knowledge.tables import atom_proposals, shadow_failure, topic_proposals, writer_heartbeat
from knowledge_migration.knowledge.writing.modes import Written
from knowledge_migration.knowledge.writing.runs import pending_count
from knowledge_migration.knowledge.writing.shadow import open_failures
from knowledge_migration.thresholds import STAGES

REST_FACTOR = 200.0
NOT_READABLE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.InsufficientPrivilege)

T = TypeVar("T")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class CollectedStatus:
    """What the installation reports of the migration: two facts for `/health`, and metrics."""

    schema_revision: str | None
    backfill: str | None
    metrics: tuple[Metric, ...]


class StatusCollector(Protocol):
    """The installation's reader of the migration's state. Without one, the service exports its own metrics only."""

    def collect(self) -> CollectedStatus | None:
        """The present state; None where the database does not answer. Called in a thread, seldom."""


@dataclass(frozen=True)
class QueueState:
    """What waits for review or repair; None where the table does not exist or may not be read."""

    pending_proposals: int | None
    open_shadow_failures: int | None


@dataclass(frozen=True)
class ServiceState:
    """What the service reads in its own tables, and what the collector reports."""

    queue: QueueState
    pending: Rows
    writers: Rows
    collected: CollectedStatus | None = None


def read_queue_state(connection: sa.Connection) -> QueueState:
    """Reads each count in a savepoint of its own."""
    return QueueState(
        _readable(connection, topic_proposals, lambda: pending_count(connection)),
        _readable(connection, shadow_failure, lambda: open_failures(connection)),
    )


def read_service_state(connection: sa.Connection, live_seconds: float) -> ServiceState:
    """Reads each part in a savepoint of its own."""

    def rows(table: sa.Table, query: sa.Select[Any] | sa.CompoundSelect[Any]) -> Rows:
        return _readable(connection, table, lambda: [dict(row) for row in connection.execute(query).mappings()]) or []

    pending, writers = rows(topic_proposals, _pending()), rows(writer_heartbeat, _writers(live_seconds))
    return ServiceState(read_queue_state(connection), pending, writers)


def _readable(connection: sa.Connection, table: sa.Table, read: Callable[[], T]) -> T | None:
    """The result, read in a savepoint; None where the table does not exist, or may not be read."""
    if not relation_exists(connection, table.fullname):
        return None
    try:
        with connection.begin_nested():
            return read()
    except sa.exc.ProgrammingError as error:
        if isinstance(error.orig, NOT_READABLE):
            return None
        raise


def _pending() -> sa.CompoundSelect[Any]:
    return sa.union_all(
        *(
            sa.select(
                sa.literal(name).label("entity"),
                sa.func.count().label("rows"),
                sa.func.min(proposals.c.created_at).label("oldest"),
            ).where(proposals.c.status == "pending")
            for name, proposals in (("topic", topic_proposals), ("atom", atom_proposals))
        )
    )


def _writers(live_seconds: float) -> sa.Select[Any]:
    heartbeat = writer_heartbeat.c
    live = heartbeat.seen_at > sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, live_seconds)
    return sa.select(heartbeat.mode, sa.func.count().label("processes")).where(live).group_by(heartbeat.mode)


@dataclass(eq=False)
class ServiceExporter(Collector):
    """Hands the latest reading to Prometheus. It has state, so it is a class; the registry of the process has one."""

    state: ServiceState | None = None
    flags: Flags | None = None
    pool: tuple[int, int] | None = None
    read_at: float | None = None
    seconds: float = 0.0

    def is_due(self, at_least_seconds: float) -> bool:
        """Whether the next reading may begin; with 0 seconds at every scrape."""
        rest = max(at_least_seconds, REST_FACTOR * self.seconds) if at_least_seconds else 0.0
        return self.read_at is None or time.monotonic() - self.read_at >= rest

    def reset(self) -> None:
        """Forgets everything: another service begins in this process."""
        self.state, self.flags, self.pool, self.read_at, self.seconds = None, None, None, None, 0.0

    def keep(self, state: ServiceState | None, seconds: float) -> None:
        """Keeps a reading, or None for one that failed."""
        self.state, self.seconds, self.read_at = state, seconds, time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """Every metric that is known."""
        yield from self._flag_metrics()
        if self.pool is not None:
            used, size = self.pool
            yield gauges(
                "knowledge_pool_connections",
                "Database connections of this process",
                "state",
                {"used": used, "size": size},
            )
        state = self.state
        yield GaugeMetricFamily(
            "migration_database_visible",
            "Whether the latest reading of the database succeeded",
            value=float(state is not None),
        )
        if state is None:
            return
        if state.collected:
            yield from state.collected.metrics
        yield from _queue_metrics(state)

    def _flag_metrics(self) -> Iterator[Metric]:
        if self.flags is None:
            return
        values = {name: value for name, value in self.flags.values.items() if isinstance(value, bool | int | float)}
        yield gauges("knowledge_flag", "Value of each flag; on is 1, off is 0", "flag", values)
        current = stage_of(self.flags) or ("dual_write" if self.flags.dual_write else "off")
        stages = {stage: stage == current for stage in ("off", "dual_write", *STAGES)}
        yield gauges("knowledge_stage", "1 for the current stage of the cutover", "stage", stages)


def _queue_metrics(state: ServiceState) -> Iterator[Metric]:
    yield gauges(
        "knowledge_pending_proposals", "Proposals that wait for review", "entity_type",
        {row["entity"]: row["rows"] for row in state.pending},
    )  # fmt: skip
    yield gauges(
        "knowledge_oldest_pending_timestamp_seconds", "When the oldest pending proposal was created", "entity_type",
        {row["entity"]: row["oldest"] for row in state.pending},
    )  # fmt: skip
    yield gauges(
        "knowledge_live_processes", "Live processes of the service, by mode", "mode",
        {row["mode"]: row["processes"] for row in state.writers},
    )  # fmt: skip


def gauges(
    name: str, documentation: str, label: str | Iterable[str], values: Mapping[Any, float | datetime | None]
) -> GaugeMetricFamily:
    """One gauge per label value (a tuple for several labels); a moment as seconds since 1970; without a value, no sample."""
    family = GaugeMetricFamily(name, documentation, labels=[label] if isinstance(label, str) else list(label))
    for key, value in values.items():
        if value is not None:
            number = value.timestamp() if isinstance(value, datetime) else float(value)
            family.add_metric([key] if isinstance(key, str) else list(key), number)
    return family


registry = CollectorRegistry()
exporter = ServiceExporter()
registry.register(exporter)

proposals_created = Counter(
    "knowledge_proposal_created_total", "Total proposals created", ["entity_type", "status"], registry=registry
)
proposal_seconds = Histogram(
    "knowledge_proposal_creation_duration_seconds", "Time to create the proposals of an extraction", ["entity_type"],
    registry=registry,
)  # fmt: skip
extraction_seconds = Histogram(
    "knowledge_extraction_duration_seconds", "Time of an extraction, including the model", ["mode", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120), registry=registry,
)  # fmt: skip
shadow_failures = Counter(
    "knowledge_shadow_failures_total", "Direct writes whose proposals could not be written", registry=registry
)
reviews = Counter("knowledge_reviews_total", "Decisions about proposals", ["action", "entity_type"], registry=registry)
queue_depth = Gauge("knowledge_review_queue_depth", "Proposals that wait for review", registry=registry)
open_shadow_failures = Gauge(
    "knowledge_shadow_failures_open", "Failed shadow writes that are not repaired yet", registry=registry
)
flag_version = Gauge("knowledge_flag_version", "Version of the feature flags that this process uses", registry=registry)
requests = Counter(
    "knowledge_http_requests_total",
    "HTTP requests by route and status",
    ["method", "route", "status"],
    registry=registry,
)
request_errors = Counter(
    "knowledge_http_errors_total", "HTTP requests that ended in a server error", ["method", "route"], registry=registry
)
refused_requests = Counter(
    "knowledge_http_refused_total", "Requests refused before they were read, by reason: access, body, headers", ["reason"],
    registry=registry,
)  # fmt: skip
request_seconds = Histogram(
    "knowledge_http_request_duration_seconds", "Time of an HTTP request", ["method", "route"], registry=registry
)


def set_gauges(flag_version_now: int) -> None:
    """Sets the gauges that follow the latest reading; NaN where it failed."""
    queue = exporter.state.queue if exporter.state else QueueState(None, None)
    for gauge, value in ((queue_depth, queue.pending_proposals), (open_shadow_failures, queue.open_shadow_failures)):
        gauge.set(float("nan") if value is None else value)
    flag_version.set(flag_version_now)


def count_extraction(mode: Mode, outcome: Literal["completed", "failed"], seconds: float) -> None:
    """Counts an extraction and its time by the mode that it was written in; a change of the flags may have changed that."""
    extraction_seconds.labels(mode, outcome).observe(seconds)


def count_written(written: Written) -> None:
    """Counts what a committed extraction wrote."""
    if written.shadow_failed:
        shadow_failures.inc()
    if written.proposed is None:
        return
    for (entity_type, status), count in written.proposed.statuses.items():
        approved = sum(1 for one in written.approved if one.kind.name == entity_type)
        proposals_created.labels(entity_type, "auto_approved").inc(approved)
        proposals_created.labels(entity_type, status).inc(count - approved)
        proposal_seconds.labels(entity_type).observe(written.proposed.seconds)
