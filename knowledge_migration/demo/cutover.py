"""The cutover of the demonstration: bake times of seconds, one injected fault, the automatic rollback, and full cutover.

`make migrate` has no daemon, so this process ticks the sensors of the code location: they evaluate the gates, start
`phase_4_cutover` for each stage, and roll back on a breach, as in production. `thresholds.DEMONSTRATION` has the scaled settings.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import httpx

from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import VerificationError

Report = Callable[[str], None]
RunJob = Callable[[dg.RunRequest], bool]

TICK_SECONDS = 0.25
TIMEOUT_SECONDS = 600.0
FAULT = {"mode": "proposal", "share": 0.2, "seconds": TIMEOUT_SECONDS}
STEADY_TICKS = 6


@dataclass
class Daemon:
    """Ticks sensors of the code location in this process, and executes the runs that they request."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    run: RunJob
    resources: Mapping[str, Any]
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, name: str) -> str:
        """The message of the sensor, after the runs that it requests have ended."""
        sensor = self.definitions.get_repository_def().get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance,
            definitions=self.definitions,
            sensor_name=name,
            cursor=self.cursors.get(name),
            resources=self.resources,
        ) as context:
            result = sensor.evaluate_tick(context)
        self.cursors[name] = result.cursor
        for request in result.run_requests or []:
            self.run(request)
        return result.skip_message or ""


def demonstrate_cutover(daemon: Daemon, database: Database, service_url: str, report: Report) -> str:
    """From dual write to full cutover, with one injected fault; returns a summary.

    Raises `VerificationError` if the guard does not roll back, or full cutover is not reached in time or does not last.
    """
    _promote_until("internal_beta", daemon, database, report)
    report(f"injected fault: {FAULT['share']:.0%} of the extractions in proposal mode fail from now on")
    httpx.post(f"{service_url}/api/v1/admin/faults", json=FAULT).raise_for_status()
    _wait_for_rollback(daemon, database, report)
    httpx.delete(f"{service_url}/api/v1/admin/faults").raise_for_status()
    _promote_until("full_cutover", daemon, database, report)
    for _ in range(STEADY_TICKS):
        daemon.tick("rollback_guard")
        time.sleep(TICK_SECONDS)
    if (state := read_cutover_state(database).state) != "full_cutover":
        raise VerificationError(f"Full cutover did not last: the current stage is {state}.")
    return "internal beta, an automatic rollback on a fault, 50 % of users, and full cutover"


def _promote_until(stage: str, daemon: Daemon, database: Database, report: Report) -> None:
    """Ticks the guard and the promotion until the stage is reached."""
    until, message, state = time.monotonic() + TIMEOUT_SECONDS, "", read_cutover_state(database).state
    while state != stage:
        if time.monotonic() > until:
            raise VerificationError(
                f"Stage {stage} was not reached within {TIMEOUT_SECONDS:g} s; it is {state}. {message}"
            )
        daemon.tick("rollback_guard")
        message = daemon.tick("cutover_promotion")
        before, state = state, read_cutover_state(database).state
        if state != before:
            report(f"promoted to {state}")
        time.sleep(TICK_SECONDS)


def _wait_for_rollback(daemon: Daemon, database: Database, report: Report) -> None:
    """Ticks the guard until it leaves the current stage."""
    until, before = time.monotonic() + TIMEOUT_SECONDS, read_cutover_state(database).state
    while time.monotonic() < until:
        message = daemon.tick("rollback_guard")
        if (state := read_cutover_state(database).state) != before:
            report(f"the guard rolled back to {state}: {message}")
            return
        time.sleep(TICK_SECONDS)
    raise VerificationError(f"The guard did not roll back within {TIMEOUT_SECONDS:g} s, although extractions failed.")
