"""The migration's metrics (strategy §2.2, §4.2), for the knowledge service that serves `/metrics` and `/health`."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from knowledge_migration.engine.foundation.database import Database, UnreachableError
from knowledge_migration.engine.status.model import BackfillProgress, EvidenceState, GateState, SpeedChange
from knowledge_migration.engine.status.snapshot import Part, read_status
from knowledge_migration.knowledge.metrics import CollectedStatus, gauges
from knowledge_migration.settings import Settings

PARTS: tuple[Part, ...] = ("backfill", "gates", "evidence")
AGING_EVIDENCE = ("verified_backup", "rollback_drill", "value_verification", "quality_validation")
VERDICTS = {"pass": 1, "inconclusive": 0, "fail": -1}


@dataclass(frozen=True)
class MigrationCollector:
    """A `StatusCollector` over the one reader of the state."""

    database: Database
    settings: Settings

    def collect(self) -> CollectedStatus | None:
        """What is recorded about the migration; None where the database does not answer."""
        try:
            snapshot = read_status(self.database, self.settings, parts=PARTS)
        except (UnreachableError, psycopg.OperationalError, sa.exc.OperationalError):
            return None
        progress = snapshot.backfill or BackfillProgress(None, None, ())
        metrics = (
            *_progress(progress),
            *_speed(progress.speed),
            *_gates(snapshot.gates),
            *_evidence(snapshot.evidence),
        )
        return CollectedStatus(progress.schema_revision, progress.run, metrics)


def _progress(progress: BackfillProgress) -> Iterator[Metric]:
    tables = progress.tables
    yield gauges(
        "migration_rows", "Rows of a legacy table, by the planner's estimate", "table",
        {table.table: table.estimated_rows for table in tables},
    )  # fmt: skip
    linked = CounterMetricFamily("migration_backfilled_rows", "Rows that the backfill has linked", labels=["table"])
    for table in tables:
        if table.linked is not None:
            linked.add_metric([table.table], float(table.linked))
    yield linked
    yield gauges(
        "migration_backfill_last_batch_timestamp_seconds", "When the backfill committed its last batch", "table",
        {table.table: table.last_batch_at for table in tables},
    )  # fmt: skip
    yield GaugeMetricFamily(
        "migration_backfill_unfinished", "1 from the backfill's first batch until it is completed",
        value=float(progress.run not in (None, "completed")),
    )  # fmt: skip
    yield gauges(
        "migration_quarantined_rows", "Quarantined rows, by state", ("table", "state"),
        {(table.table, state): rows for table in tables for state, rows in table.quarantined.items()},
    )  # fmt: skip


def _speed(speed: SpeedChange | None) -> Iterator[Metric]:
    changes = (speed,) if speed else ()
    yield gauges(
        "migration_backfill_speed",
        "How much of the time batches run, in all workers together, and what limits it; 0 is a wait",
        ("signal", "grade"), {(change.signal or "", change.grade): change.level for change in changes},
    )  # fmt: skip
    read_at = GaugeMetricFamily(
        "migration_backfill_signals_read_timestamp_seconds", "When the signals of the database were last read"
    )
    if speed:
        read_at.add_metric((), speed.read_at.timestamp())
    yield read_at


def _gates(gates: tuple[GateState, ...]) -> Iterator[Metric]:
    verdicts = [gate.last for gate in gates if gate.last]
    yield gauges(
        "migration_gate_verdict", "Last verdict of a gate: 1 pass, 0 inconclusive, -1 fail", "metric",
        {last.metric: VERDICTS[last.verdict] for last in verdicts},
    )  # fmt: skip
    yield gauges(
        "migration_gate_value",
        "Last value of a gate's metric",
        "metric",
        {last.metric: last.value for last in verdicts},
    )
    yield gauges(
        "migration_gate_timestamp_seconds", "When a gate was last evaluated", "metric",
        {last.metric: last.at for last in verdicts},
    )  # fmt: skip


def _evidence(evidence: tuple[EvidenceState, ...]) -> Iterator[Metric]:
    """A recorded backup counts as valid: it was verified, and its file need not be on the machine of the service."""
    items = [item for item in evidence if item.kind in AGING_EVIDENCE and item.at]
    yield gauges(
        "migration_proof_timestamp_seconds", "When evidence of this kind was last recorded", "kind",
        {item.kind: item.at for item in items},
    )  # fmt: skip
    yield gauges(
        "migration_proof_well", "Whether the last evidence of this kind is valid", "kind",
        {item.kind: bool(item.valid) or item.kind == "verified_backup" for item in items},
    )  # fmt: skip
