"""Alerts: failed runs, failed checks, ways back and promotions, too many failed extractions (strategy §4.2, §6.4, §8.1).

Each is sent once: what was told last stands in the sensor's cursor, which survives a restart of the daemon. A sensor that is
switched on tells what happens from then on, not what is past.
"""

import json
from datetime import timedelta

import dagster as dg
import psycopg

from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.alerts import shortened
from knowledge_migration.engine.errors import MigrationError
from knowledge_migration.engine.statements import text_of

UNCONFIGURED = "No channel is configured: KNOWLEDGE_MIGRATION_ALERT_URLS names none."
RUNNING = dg.DefaultSensorStatus.RUNNING
FAILURE_RATE_LIMIT, FAILURE_RATE_SAMPLE = 0.01, 50
FAILURE_RATE_WINDOW = timedelta(hours=1)


@dg.run_failure_sensor(name="alert_on_failed_runs", default_status=RUNNING)
def alert_on_failed_runs(context: dg.RunFailureSensorContext, migration: Migration) -> dg.SkipReason | None:
    """Tells of each failed run: the job, the run, and what its failed step says."""
    if not migration.alerts.configured:
        return dg.SkipReason(UNCONFIGURED)
    failed = [event for event in context.get_step_failure_events() if event.is_step_failure]
    words = [f"{event.step_key}: {_said(event)}" for event in failed] or [
        context.failure_event.message or "no step began"
    ]
    run = context.dagster_run
    migration.alerts.send(f"Failed: {run.job_name}", f"Run {run.run_id}\n{shortened(words)}", kind="failure")
    return None


def _said(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "failed"


@dg.sensor(minimum_interval_seconds=60, default_status=RUNNING, job_name="validation")
def alert_on_failed_checks(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Tells of each check whose latest evaluation failed with severity ERROR, once per evaluation."""
    if not migration.alerts.configured:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    graph = context.repository_def.asset_graph if context.repository_def else None
    keys = sorted(graph.asset_check_keys, key=str) if graph else []
    latest = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    told = int(context.cursor) if context.cursor else max((record.id for record in latest.values()), default=0)
    fresh = [record for record in latest.values() if record.id > told]
    failed = [
        f"{record.key.asset_key.to_user_string()}.{record.key.name}: {record.evaluation.description or ''}"
        for record in fresh
        if record.status.value == "FAILED"
        and record.evaluation
        and record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    ]
    if failed:
        migration.alerts.send(f"{len(failed)} checks failed", shortened(failed), kind="failure")
    cursor = str(max((record.id for record in latest.values()), default=told))
    return dg.SensorResult(skip_reason=f"{len(failed)} new failed checks.", cursor=cursor)


@dg.sensor(minimum_interval_seconds=30, default_status=RUNNING, asset_selection="cutover_stage")
def alert_on_decisions(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Tells of each way back, promotion, override and act of the guard, whoever did it, from the audit log."""
    if not migration.alerts.configured:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    try:
        with migration.database.connect("alerts") as connection:
            if context.cursor is None:
                newest = connection.execute(text_of("reports/audit_last_id")).fetchone()
                return dg.SensorResult(
                    skip_reason="Tells what happens from now on.", cursor=str(newest and newest["id"])
                )
            rows = connection.execute(text_of("reports/decisions_since"), {"after": int(context.cursor)}).fetchall()
    except (MigrationError, psycopg.Error) as error:
        return dg.SensorResult(skip_reason=f"The audit log cannot be read: {error}", cursor=context.cursor)
    for row in rows:
        worse = row["action"].startswith(("rollback", "guard"))
        body = f"{row['at']:%Y-%m-%d %H:%M:%S} UTC, {row['actor']}, {row['subject']}\n{row['reason'] or ''}"
        migration.alerts.send(row["action"].capitalize(), body, kind="warning" if worse else "info")
    cursor = str(rows[-1]["id"]) if rows else context.cursor
    return dg.SensorResult(skip_reason=f"{len(rows)} new decisions.", cursor=cursor)


@dg.sensor(minimum_interval_seconds=60, default_status=RUNNING, asset_selection="dual_write_mode")
def alert_on_failure_rate(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Tells when more than 1 % of the extractions of the last hour failed, at most once an hour while it lasts."""
    if not migration.alerts.configured:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    now = migration.now()
    try:
        with migration.database.connect("alerts") as connection:
            since = {"since": now - FAILURE_RATE_WINDOW}
            row = connection.execute(text_of("metrics/extraction_failures"), since).fetchone()
    except (MigrationError, psycopg.Error) as error:
        return dg.SensorResult(skip_reason=f"The extractions cannot be counted: {error}", cursor=context.cursor)
    assert row is not None  # an aggregate
    rate = row["failed"] / row["sample"] if row["sample"] else 0.0
    words = f"{row['failed']:,} of {row['sample']:,} extractions of the last hour failed."
    if row["sample"] < FAILURE_RATE_SAMPLE or rate <= FAILURE_RATE_LIMIT:
        return dg.SensorResult(skip_reason=words, cursor=context.cursor)
    told = json.loads(context.cursor)["at"] if context.cursor else 0.0
    if now.timestamp() - told < FAILURE_RATE_WINDOW.total_seconds():
        return dg.SensorResult(skip_reason=f"{words} Told within the last hour.", cursor=context.cursor)
    migration.alerts.send("Extractions fail", f"{words} The limit is {FAILURE_RATE_LIMIT:.0%}.", kind="failure")
    return dg.SensorResult(skip_reason=words, cursor=json.dumps({"at": now.timestamp()}))


SENSORS = [alert_on_failed_runs, alert_on_failed_checks, alert_on_decisions, alert_on_failure_rate]
