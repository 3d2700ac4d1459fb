"""A database that meets every requirement of a promotion: backfilled, fenced, backed up, drilled, live, measured."""

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from knowledge_migration.engine.backfill import phase
from knowledge_migration.engine.cutover.evaluation import evaluate
from knowledge_migration.engine.cutover.readiness import CheckRecord
from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.settings import CutoverSettings, Settings
from knowledge_migration.thresholds import GATES, Gate
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, fill
from knowledge_migration_tests.engine.cutover.stages_reached import alive, kept, measured, stand_at
from knowledge_migration_tests.support.fence_timeouts import BRIEF
from knowledge_migration_tests.support.fingerprinted import take_fingerprint

BAKED = {"internal_beta": 60.0, "gradual_rollout": 60.0, "full_cutover": 60.0}
UNHURRIED = {"slow_proposal_lists": 10.0, "slow_run_histories": 10.0, "slow_similarity_lists": 10.0}
"""Seconds that a list may take here: the machine of a test is busy, and its speed is not what is tested."""
CALM_GATES = tuple(
    replace(gate, limit_seconds=UNHURRIED[gate.metric], minimum_sample=3, threshold=0.9)
    if gate.metric in UNHURRIED
    else gate
    for gate in GATES
)
"""Each list is asked for 3 times and not 75 times: an evaluation takes 0.2 s and not 2 s."""
RULES = Settings(cutover=CutoverSettings(gates=CALM_GATES, bake_minutes=BAKED))  # type: ignore[arg-type]


def made_ready(database: Database, rows: Connection, folder: Path) -> None:
    """Phases 0 to 3, as their evidence says it."""
    fill(database)
    take_fingerprint(database)
    backfill(database)
    kept(rows, "data_quality", findings=[])
    phase.plan_backfill(
        database,
        QUICK,
        BRIEF,
        partition_rows=100,
        max_partitions=200,
        sample_batches=0,
        no_live_writers=True,
    )
    state = stand_at(database, "dual_write")
    kept(rows, "dual_write_fence", flag_version=state.flags.version, writers=["one"], seconds=0.1)
    backed_up(rows, folder)
    drilled(rows)
    alive(rows, database, "one")


def backed_up(rows: Connection, folder: Path) -> Path:
    """A backup whose file is the one that was verified."""
    path = folder / "a.dump"
    path.write_bytes(b"a dump")
    known = {"sha256": hashlib.sha256(b"a dump").hexdigest(), "origin": "1/2"}
    path.with_suffix(".json").write_text(json.dumps(known))
    kept(rows, "verified_backup", path=str(path), **known)
    return path


def drilled(rows: Connection, **content: Any) -> None:
    """A rollback drill that passed."""
    path = {"path": "instant", "seconds": 0.2, "passed": content.get("passed", True)}
    kept(rows, "rollback_drill", paths=[path], passed=path["passed"])


def passed(*names: str, at: datetime) -> list[CheckRecord]:
    """Checks that succeeded."""
    return [CheckRecord(name, True, at) for name in names]


def seen_well(rows: Connection, database: Database, at: datetime, gates: tuple[Gate, ...] = CALM_GATES) -> None:
    """Good measurements before `at`, and the verdicts of three rounds a minute apart that end there."""
    quiet = at - timedelta(seconds=200)
    measured(rows, "GET /topics", answered=1_000, at=quiet)
    measured(rows, "extraction", "proposal", answered=400, seconds=1.0, spread=1.1, at=quiet)
    measured(rows, "extraction", "dual_write", answered=400, seconds=1.0, spread=1.1, at=quiet)
    rows.execute(
        "INSERT INTO knowledge_extraction_runs (status, message_ids, message_count, settings, created_at) VALUES "
        """('completed', '[1]', 1, '{"mode": "dual_write"}', %s)""",
        [quiet],
    )
    for minutes in (3, 2, 1):
        evaluate(database, gates, read_cutover_state(database), now=at - timedelta(minutes=minutes), spacing_seconds=60)
