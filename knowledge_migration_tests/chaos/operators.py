"""What the operators of a round do: phases, rollbacks and promotions, by the engine, by Dagster, by a command or the API.

One action as a process, which may be killed: python -m knowledge_migration_tests.chaos.operators ORDER (JSON). The settings come
from the environment.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import httpx

from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.installation import Installation
from knowledge_migration.settings import Settings, load_settings
from knowledge_migration.thresholds import Stage

Way = Literal["engine", "dagster", "command", "api"]
OVERRIDE = "a chaos round does not wait for days"
SERVICE_TIMEOUT_SECONDS = 60.0

WAYS: Mapping[str, tuple[Way, ...]] = {
    "phase 1": ("engine", "engine", "dagster"),
    "phase 2": ("engine", "engine", "dagster"),
    "phase 3": ("engine", "engine", "dagster"),
    "promote internal_beta": ("engine", "dagster"),
    "promote gradual_rollout": ("engine", "dagster"),
    "promote full_cutover": ("engine", "dagster"),
    "rollback instant": ("engine", "dagster", "command", "api"),
    "rollback partial": ("engine", "dagster", "command", "api"),
    "rollback dual-write": ("engine", "dagster", "command"),
    "rollback backfill": ("engine", "dagster", "command"),
    "rollback schema": ("engine", "dagster", "command"),
    "rollback full": ("engine", "dagster", "command"),
}
"""How each action can be done."""


class RefusedError(Exception):
    """An action did not succeed, for a reason that it states; it can be repeated."""


@dataclass(frozen=True)
class Order:
    """One action, how to do it, and the reason for the audit log; `export` for proposals that exist nowhere else."""

    action: str
    way: Way
    reason: str
    export: str = ""


def arguments_of(order: Order) -> list[str]:
    """The process that does it."""
    if order.way != "command":
        return [sys.executable, "-m", __name__, json.dumps(asdict(order))]
    kind = order.action.removeprefix("rollback ")
    export = ["--export", order.export] if kind == "schema" else []
    command = ["rollback", kind, "--reason", order.reason, "--yes", *export]
    return [sys.executable, "-m", "knowledge_migration.commands.main", *command]


def run_command(*arguments: str) -> str:
    """Runs a command to its end; raises `RefusedError` with what it says."""
    command = [sys.executable, "-m", "knowledge_migration.commands.main", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(f"{done.stderr}{done.stdout}")
    return done.stdout


def perform(order: Order, url: str) -> None:
    """Does it in this process; raises what the engine raises, or `RefusedError`."""
    if order.way == "api":
        _by_api(order, url)
    elif order.way == "dagster":
        _by_dagster(order)
    else:
        _by_engine(order)


def _by_api(order: Order, url: str) -> None:
    body = {"kind": order.action.removeprefix("rollback "), "reason": order.reason}
    try:
        answer = httpx.post(f"{url}/api/v1/admin/rollback", json=body, timeout=SERVICE_TIMEOUT_SECONDS)
    except httpx.HTTPError as error:
        raise RefusedError(repr(error)) from error
    if answer.status_code != 200:
        raise RefusedError(answer.text)


def _by_dagster(order: Order) -> None:
    import dagster as dg

    from knowledge_migration.commands.phase_runs import Runs, migrate
    from knowledge_migration_tests.support.code_location import definitions

    name, _, what = order.action.partition(" ")
    with dg.DagsterInstance.ephemeral() as instance:
        if name == "phase":
            database = Installation(load_settings()).database
            for summary in migrate(database, instance, on_phase=lambda _: None):
                if summary.errors:
                    raise RefusedError("; ".join(summary.errors))
                if summary.phase.startswith(what):
                    return
            raise RefusedError(f"phase {what} was not reached")
        runs = Runs(instance, definitions())
        config: dict[str, Any] = {"reason": order.reason}
        if name == "promote":
            ops = {"cutover_stage": {"config": {**config, "override_reason": OVERRIDE}}}
            runs.run("phase_4_cutover", partition=what, ops=ops)
        else:
            if what == "schema":
                config["export_to"] = order.export
            runs.run(f"rollback_{what.replace('-', '_')}", ops={DAGSTER_OPS[what]: {"config": config}})
        if runs.errors:
            raise RefusedError("; ".join(runs.errors))


DAGSTER_OPS = {
    "instant": "set_flags_instant",
    "partial": "set_flags_partial",
    "dual-write": "remove_dual_write",
    "backfill": "remove_backfill",
    "schema": "remove_schema",
    "full": "roll_everything_back",
}


def _by_engine(order: Order) -> None:
    installation = Installation(load_settings())
    name, _, what = order.action.partition(" ")
    if name == "sweep":
        return complete_again()
    if name == "promote":
        return _promote(installation, cast(Stage, what), order.reason)
    if name == "phase":
        return PHASES[what](installation, installation.settings, order.reason)
    return ROLLBACKS[what](installation, installation.settings, order)


def _phase_1(installation: Installation, settings: Settings, _: str) -> None:
    from knowledge_migration.engine.schema.phase import run_schema_phase

    hours = settings.preparation.backup_max_age_hours
    with installation.preflight() as preflight:
        run_schema_phase(preflight, settings.schema_change, backup_max_age_hours=hours)


def _phase_2(installation: Installation, settings: Settings, reason: str) -> None:
    from knowledge_migration.engine.dual_write.switch import switch_on

    mode, limits = settings.dual_write.capture, settings.schema_change
    switch_on(
        installation.database,
        installation.initial_flags,
        settings.fence,
        reason=reason,
        mode=mode,
        schema_change=limits,
    )


def _phase_3(installation: Installation, settings: Settings, _: str) -> None:
    from knowledge_migration.engine.backfill.phase import complete_backfill, plan_backfill
    from knowledge_migration.engine.backfill.runner import backfill_partition

    limits = settings.backfill
    planned = plan_backfill(
        installation.database,
        limits,
        settings.fence,
        partition_rows=limits.partition_rows,
        max_partitions=limits.max_partitions,
        no_live_writers=False,
    )
    for plan in planned.plans.values():
        for partition in plan.partitions:
            backfill_partition(installation.database, partition, limits)
    complete_backfill(installation.database, limits, settings.fence, no_live_writers=False, reports={})


def _promote(installation: Installation, stage: Stage, reason: str) -> None:
    from knowledge_migration.engine.cutover.promotion import promote
    from knowledge_migration.engine.cutover.readiness import readiness
    from knowledge_migration.engine.validation.integrity import evaluate_integrity

    database, settings = installation.database, installation.settings
    evaluated = evaluate_integrity(database, settings)
    now = database.now()
    ready = readiness(database, settings, stage, tuple(one.record(now) for one in evaluated), now=now)
    promote(
        database,
        installation.initial_flags,
        settings.fence,
        ready,
        reason=reason,
        override_reason=OVERRIDE,
        admin_user_ids=settings.flags.admin_user_ids,
    )


def _by_flags(installation: Installation, settings: Settings, order: Order) -> None:
    from knowledge_migration.engine.rollback.flags import roll_back

    kind: Any = order.action.removeprefix("rollback ")
    roll_back(installation.database, installation.initial_flags, settings, kind, reason=order.reason)


def _rollback_dual_write(installation: Installation, settings: Settings, order: Order) -> None:
    from knowledge_migration.engine.rollback.dual_write import rollback_dual_write

    initial, limits = installation.initial_flags, settings.backfill
    rollback_dual_write(
        installation.database, initial, settings.fence, reason=order.reason, limits=limits, batch_size=limits.batch_size
    )


def _rollback_backfill(installation: Installation, settings: Settings, order: Order) -> None:
    from knowledge_migration.engine.rollback.backfill import rollback_backfill

    limits = settings.backfill
    rollback_backfill(installation.database, reason=order.reason, limits=limits, batch_size=limits.batch_size)


def _rollback_schema(installation: Installation, settings: Settings, order: Order) -> None:
    from knowledge_migration.engine.rollback.schema import rollback_schema

    limits = settings.schema_change
    rollback_schema(installation.database, limits, reason=order.reason, export_to=Path(order.export))


def _rollback_full(installation: Installation, _: Settings, order: Order) -> None:
    from knowledge_migration.engine.rollback.full import rollback_full

    options = installation.full_rollback_options(restore_missing=False)
    rollback_full(installation.database, options, reason=order.reason)


PHASES: Mapping[str, Callable[[Installation, Settings, str], None]] = {"1": _phase_1, "2": _phase_2, "3": _phase_3}
ROLLBACKS: Mapping[str, Callable[[Installation, Settings, Order], None]] = {
    "instant": _by_flags,
    "partial": _by_flags,
    "dual-write": _rollback_dual_write,
    "backfill": _rollback_backfill,
    "schema": _rollback_schema,
    "full": _rollback_full,
}


def complete_again() -> None:
    """The completion of the backfill, which applies the decisions about the quarantine."""
    from knowledge_migration.engine.backfill.completion import complete

    settings = load_settings()
    complete(Installation(settings).database, settings.backfill)


def set_paused(*, paused: bool) -> None:
    """Pauses the backfill, or lets it continue."""
    from knowledge_migration.engine.backfill.control import set_control

    with Installation(load_settings()).database.connect("chaos control") as connection:
        set_control(connection, paused=paused, reason="a chaos round")


if __name__ == "__main__":
    try:
        perform(Order(**json.loads(sys.argv[1])), "")
    except (MigrationError, RefusedError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
