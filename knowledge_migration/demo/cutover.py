"""The cutover of the demonstration: a day of each stage in seconds, one fault on purpose, the guard, and the way up again.

Nothing is done here that production does not do: the sensors of the code location are ticked (there is no daemon in
`make migrate`), they evaluate the gates, start `cutover_job` for each stage and go back when a metric is in breach. Only the
settings are scaled down, and every one that is stands in `SCALED_DOWN`.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import httpx

from knowledge_migration.engine.cutover.state import CutoverState, read_cutover_state
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.thresholds import STAGES

Tell = Callable[[str], None]
RunJob = Callable[[dg.RunRequest], bool]

QUEUE_LIMIT = 20_000
SCALED_DOWN: dict[str, Any] = {
    "CUTOVER_AUTOMATIC_PROMOTION": True,
    "CUTOVER_EVALUATION_SECONDS": 1,
    "CUTOVER_BAKE_MINUTES": dict.fromkeys(STAGES, 0.1),
    "CUTOVER_GATES": {
        "api_error_rate": {"minimum_sample": 200, "threshold": 0.02},
        "proposal_error_rate": {
            "minimum_sample": 40,
            "threshold": 0.1,
            "breach_window_minutes": 0.25,
            "breach_sample": 30,
        },
        "extraction_slowdown": {"minimum_sample": 30, "threshold": 2.0, "breach": 4.0},
        "queue_depth": {"threshold": QUEUE_LIMIT, "breach": QUEUE_LIMIT},
    },
    "KNOWLEDGE_REVIEW_QUEUE_LIMIT": QUEUE_LIMIT,
}
"""Bake times of seconds for days, samples of seconds for hours. The demonstration's extractor takes ten milliseconds, so the
write is a large part of an extraction: twice as slow is little there. Nobody reviews, so the queue is long."""

ADMINS_SHARE = 2
FAULT = {"mode": "proposal", "share": 0.2, "seconds": 20.0}
TICK_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
STEADY_TICKS = 3


def scale_down(database: Database) -> None:
    """Sets the settings of the demonstration for this process and those that it starts; every second user is an admin."""
    with database.connect("demonstration") as connection:
        users = [row["id"] for row in connection.execute(statement("demo/traffic_ids", table="public.users"))]
    values = {**SCALED_DOWN, "KNOWLEDGE_PROPOSALS_ADMIN_USER_IDS": users[::ADMINS_SHARE]}
    os.environ.update({name: json.dumps(value) for name, value in values.items()})


@dataclass
class Daemon:
    """Ticks sensors of the code location in this process, and runs what they ask for. It has state, so it is a class."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    run: RunJob
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, name: str) -> str:
        """What the sensor says; the runs that it requests are over then."""
        sensor = self.definitions.get_repository_def().get_sensor_def(name)
        context = dg.build_sensor_context(
            instance=self.instance,
            definitions=self.definitions,
            sensor_name=name,
            cursor=self.cursors.get(name),
            resources=self.definitions.resources,
        )
        found = sensor.evaluate_tick(context)
        self.cursors[name] = found.cursor
        for request in found.run_requests or []:
            self.run(request)
        return found.skip_message or ""


def demonstrate_cutover(daemon: Daemon, database: Database, service_url: str, tell: Tell) -> str:
    """From dual write to full cutover, with one fault on the way; returns what happened, in words.

    Raises `VerificationError` when the guard does not go back, or full cutover is not reached in time.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    went_back: CutoverState | None = None
    faulted, standing, said = False, read_cutover_state(database), ""
    while standing.state != "full_cutover":
        if time.monotonic() > until:
            raise VerificationError(
                f"Full cutover was not reached within {PATIENCE_SECONDS:g} s; it stands at {standing.state}. {said}"
            )
        if standing.state == "gradual_rollout" and not faulted:
            faulted = True
            tell(f"on purpose: {FAULT['share']:.0%} of the extractions in proposal mode fail from now on")
            httpx.post(f"{service_url}/api/v1/admin/faults", json=FAULT).raise_for_status()
        acted = daemon.tick("rollback_guard")
        standing, before = read_cutover_state(database), standing
        if faulted and went_back is None:
            if standing.state == before.state:
                time.sleep(TICK_SECONDS)
                continue
            went_back = standing
            tell(f"the guard went back to {standing.state}: {acted}")
            httpx.delete(f"{service_url}/api/v1/admin/faults").raise_for_status()
        said = daemon.tick("cutover_promotion")
        standing, before = read_cutover_state(database), standing
        if standing.state != before.state:
            tell(f"promoted to {standing.state}")
        time.sleep(TICK_SECONDS)
    if went_back is None:
        raise VerificationError("Full cutover was reached, but the guard never went back: the fault was not seen.")
    for _ in range(STEADY_TICKS):
        daemon.tick("rollback_guard")
        time.sleep(TICK_SECONDS)
    final = read_cutover_state(database)
    if final.state != "full_cutover":
        raise VerificationError(f"Full cutover did not last: it stands at {final.state}.")
    return "internal beta, half, one automatic way back on a fault, and up again to full cutover"
