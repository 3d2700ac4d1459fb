"""What the service exports about the migration and its queue (strategy §2.2, §4.2): looked up when scraped, never often.

A look takes some milliseconds; the next one is allowed only after two hundred times as long, and not before the seconds that
the options say, so that scraping costs under half a percent of a core however large the tables grow. Values of a
database that cannot be seen are not exported: a dashboard must not show yesterday's as today's.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.dialects.postgresql import JSONB, distinct_on

from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.health import MigrationState, if_there, migration_state
from knowledge_migration.knowledge.stages import STAGES, stage_of
from knowledge_migration.knowledge.tables import atom_proposals, topic_proposals, writer_heartbeat

REST_FACTOR = 200.0
PROOFS = ("verified_backup", "rollback_drill", "value_verification", "quality_validation")
VERDICTS = {"pass": 1, "inconclusive": 0, "fail": -1}
NEWEST_VERDICTS = 500
TABLES = {"topic": "topics", "atom": "atoms"}

_evidence = sa.table(
    "evidence",
    sa.column("id"),
    sa.column("kind"),
    sa.column("recorded_at"),
    sa.column("content", JSONB),
    schema="migration",
)
_ledger = sa.table(
    "backfill_batch", sa.column("entity"), sa.column("linked_rows"), sa.column("committed_at"), schema="migration"
)
_quarantine = sa.table("quarantine", sa.column("entity"), sa.column("state"), schema="migration")
_gates = sa.table(
    "gate_evaluation",
    *(sa.column(name) for name in ("id", "at", "stage", "metric", "verdict", "value")),
    schema="migration",
)

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Look:
    """What was seen in the database; a part that is not there yet is empty."""

    state: MigrationState
    tables: Rows = field(default_factory=list)
    backfilled: Rows = field(default_factory=list)
    quarantined: Rows = field(default_factory=list)
    pending: Rows = field(default_factory=list)
    gates: Rows = field(default_factory=list)
    writers: Rows = field(default_factory=list)
    proofs: Rows = field(default_factory=list)


def look(connection: sa.Connection, live_seconds: float) -> Look:
    """Asks each part in a savepoint of its own."""

    def rows(query: sa.Select[Any] | sa.CompoundSelect[Any]) -> Rows:
        found = if_there(connection, lambda: [dict(row) for row in connection.execute(query).mappings()])
        return found or []

    return Look(
        state=migration_state(connection),
        tables=rows(_sizes()),
        backfilled=rows(_backfilled()),
        quarantined=rows(
            sa.select(_quarantine.c.entity, _quarantine.c.state, sa.func.count().label("rows")).group_by(
                _quarantine.c.entity, _quarantine.c.state
            )
        ),
        pending=rows(_pending()),
        gates=rows(_last_verdicts()),
        writers=rows(_writers(live_seconds)),
        proofs=rows(_proofs()),
    )


def _sizes() -> sa.Select[Any]:
    """The planner's count of rows: an exact one would read the whole table."""
    classes = sa.table("pg_class", sa.column("oid"), sa.column("relname"), sa.column("reltuples"))
    rows = sa.func.greatest(classes.c.reltuples, 0).label("rows")
    named = [sa.func.to_regclass(f"public.{table}") for table in TABLES.values()]
    return sa.select(classes.c.relname.label("table"), rows).where(classes.c.oid.in_(named))


def _backfilled() -> sa.Select[Any]:
    return sa.select(
        _ledger.c.entity,
        sa.func.sum(_ledger.c.linked_rows).label("rows"),
        sa.func.max(_ledger.c.committed_at).label("at"),
    ).group_by(_ledger.c.entity)


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


def _last_verdicts() -> sa.Select[Any]:
    """Of the newest evaluations only; the guard's are no verdicts about a promotion."""
    newest = sa.select(_gates).order_by(_gates.c.id.desc()).limit(NEWEST_VERDICTS).subquery()
    columns = newest.c
    return (
        sa.select(columns.metric, columns.verdict, columns.value, columns.at)
        .where(columns.stage.not_like("guard of %"))
        .ext(distinct_on(columns.metric))
        .order_by(columns.metric, columns.id.desc())
    )


def _writers(live_seconds: float) -> sa.Select[Any]:
    heartbeat = writer_heartbeat.c
    live = heartbeat.seen_at > sa.func.clock_timestamp() - sa.func.make_interval(0, 0, 0, 0, 0, 0, live_seconds)
    return sa.select(heartbeat.mode, sa.func.count().label("processes")).where(live).group_by(heartbeat.mode)


def _proofs() -> sa.CompoundSelect[Any]:
    """The newest evidence of each kind that has to be fresh, and whether it said that all is well."""
    content = _evidence.c.content
    well = sa.func.coalesce(content["well"].as_boolean(), content["passed"].as_boolean(), sa.true()).label("well")
    return sa.union_all(
        *(
            sa.select(sa.literal(kind).label("kind"), _evidence.c.recorded_at.label("at"), well)
            .where(_evidence.c.kind == kind)
            .order_by(_evidence.c.id.desc())
            .limit(1)
            .subquery(f"latest_{kind}")
            .select()
            for kind in PROOFS
        )
    )


@dataclass(eq=False)
class MigrationCollector(Collector):
    """Hands the latest look to Prometheus. It has state, so it is a class; one stands in the registry of the process."""

    found: Look | None = None
    flags: Flags | None = None
    pool: tuple[int, int] | None = None
    looked_at: float | None = None
    seconds: float = 0.0

    def is_due(self, at_least_seconds: float) -> bool:
        """Whether another look may be taken; with 0 seconds at every scrape."""
        rest = max(at_least_seconds, REST_FACTOR * self.seconds) if at_least_seconds else 0.0
        return self.looked_at is None or time.monotonic() - self.looked_at >= rest

    def forget(self) -> None:
        """As if nothing had been seen yet: another service begins in this process."""
        self.found, self.flags, self.pool, self.looked_at, self.seconds = None, None, None, None, 0.0

    def took(self, found: Look | None, seconds: float) -> None:
        """Keeps a look, or that there was nothing to be seen."""
        self.found, self.seconds, self.looked_at = found, seconds, time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """Everything that is known."""
        yield from self._of_flags()
        yield from self._of_pool()
        found = self.found
        yield _gauge(
            "migration_database_visible", "Whether the latest look at the database succeeded", found is not None
        )
        if found is None:
            return
        yield from _of_progress(found)
        yield from _of_queue(found)
        yield from _of_gates(found)
        yield from _of_proofs(found)

    def _of_flags(self) -> Iterator[Metric]:
        if self.flags is None:
            return
        values = GaugeMetricFamily("knowledge_flag", "Value of each flag; on is 1, off is 0", labels=["flag"])
        for name, value in self.flags.values.items():
            if isinstance(value, bool | int | float):
                values.add_metric([name], float(value))
        yield values
        stages = GaugeMetricFamily(
            "knowledge_stage", "1 for the stage of the cutover that the flags amount to", labels=["stage"]
        )
        standing = stage_of(self.flags) or ("dual_write" if self.flags.dual_write else "off")
        for stage in ("off", "dual_write", *STAGES):
            stages.add_metric([stage], stage == standing)
        yield stages

    def _of_pool(self) -> Iterator[Metric]:
        if self.pool is None:
            return
        used, size = self.pool
        family = GaugeMetricFamily(
            "knowledge_pool_connections", "Database connections of this process", labels=["state"]
        )
        family.add_metric(["used"], used)
        family.add_metric(["size"], size)
        yield family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=float(value))


def _family(name: str, words: str, label: str, values: dict[str, float | None]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values.items():
        if value is not None:
            family.add_metric([key], float(value))
    return family


def _stamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _of_progress(found: Look) -> Iterator[Metric]:
    yield _family(
        "migration_rows", "Rows of a legacy table, by the planner's estimate", "table",
        {row["table"]: row["rows"] for row in found.tables},
    )  # fmt: skip
    linked = CounterMetricFamily("migration_backfilled_rows", "Rows that the backfill has linked", labels=["table"])
    for row in found.backfilled:
        linked.add_metric([TABLES[row["entity"]]], float(row["rows"]))
    yield linked
    yield _family(
        "migration_backfill_last_batch_timestamp_seconds", "When the backfill committed its last batch", "table",
        {TABLES[row["entity"]]: _stamp(row["at"]) for row in found.backfilled},
    )  # fmt: skip
    running = found.state.backfill not in (None, "completed")
    yield _gauge("migration_backfill_unfinished", "1 from the backfill's first batch until it is completed", running)
    aside = GaugeMetricFamily(
        "migration_quarantined_rows", "Rows that were set aside, by state", labels=["table", "state"]
    )
    for row in found.quarantined:
        aside.add_metric([TABLES[row["entity"]], row["state"]], row["rows"])
    yield aside


def _of_queue(found: Look) -> Iterator[Metric]:
    yield _family(
        "knowledge_pending_proposals", "Proposals that wait for review", "entity_type",
        {row["entity"]: row["rows"] for row in found.pending},
    )  # fmt: skip
    yield _family(
        "knowledge_oldest_pending_timestamp_seconds", "Since when the oldest of them waits", "entity_type",
        {row["entity"]: _stamp(row["oldest"]) for row in found.pending},
    )  # fmt: skip
    yield _family(
        "knowledge_live_processes", "Live processes of the service, by the mode that they obey", "mode",
        {row["mode"]: row["processes"] for row in found.writers},
    )  # fmt: skip


def _of_gates(found: Look) -> Iterator[Metric]:
    rows = found.gates
    yield _family(
        "migration_gate_verdict", "Last verdict of a gate: 1 pass, 0 inconclusive, -1 fail", "metric",
        {row["metric"]: VERDICTS[row["verdict"]] for row in rows},
    )  # fmt: skip
    yield _family(
        "migration_gate_value", "Last value of a gate's metric", "metric", {row["metric"]: row["value"] for row in rows}
    )
    yield _family(
        "migration_gate_timestamp_seconds", "When a gate was judged last", "metric",
        {row["metric"]: _stamp(row["at"]) for row in rows},
    )  # fmt: skip


def _of_proofs(found: Look) -> Iterator[Metric]:
    yield _family(
        "migration_proof_timestamp_seconds", "When a proof was made last", "kind",
        {row["kind"]: _stamp(row["at"]) for row in found.proofs},
    )  # fmt: skip
    yield _family(
        "migration_proof_well", "Whether the last proof said that all is well", "kind",
        {row["kind"]: row["well"] for row in found.proofs},
    )  # fmt: skip
