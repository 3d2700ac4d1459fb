"""Alerts: failed runs, failed checks, ways back and promotions, too many failed extractions (strategy §4.2, §6.4, §8.1).

Each is sent once: what was told stands in the sensor's cursor, which survives a restart of the daemon. What reached no channel
at all is told again at the next tick, but for failed runs, which Dagster hands over once. Dagster supports one daemon; two at
once may tell a thing twice. A sensor that is switched on tells what happens from then on, not what is past.
"""

import json
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

import dagster as dg
import psycopg

from knowledge_migration.defs.resources import Migration
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.observability.alerts import Kind, Told, shortened
from knowledge_migration.knowledge.audit import ALERTED

UNCONFIGURED = "No channel is configured: KNOWLEDGE_MIGRATION_ALERT_URLS names none."
RUNNING = dg.DefaultSensorStatus.RUNNING
FAILURE_RATE_LIMIT, FAILURE_RATE_SAMPLE = 0.01, 50
FAILURE_RATE_WINDOW = timedelta(hours=1)
EVALUATION_SETTLES_SECONDS, DECISION_SETTLES_SECONDS = 300.0, 3_600.0
"""How long an entry may take to appear after its id was given: an event is stored at once, a decision with all it has done."""

EVALUATIONS_AT_ONCE, DECISIONS_AT_ONCE = 2_000, 100
FROM_NOW_ON = "Tells what happens from now on."


def _tell(migration: Migration, title: str, body: str, kind: Kind) -> tuple[bool, str]:
    """Whether anybody was reached, and in words who was not."""
    failures = migration.installation.alerts.send(title, body, kind=kind)
    if not failures:
        return True, ""
    words = "; ".join(f"{one.channel}: {one.reason}" for one in failures)
    if migration.installation.alerts.reached_nobody(failures):
        return False, f" Nobody was reached ({words})."
    return True, f" Not reached: {words}."


def _looking(migration: Migration) -> AbstractContextManager[Connection]:
    """A session whose statements end well before a tick does."""
    return migration.database.connect("alerts", settings={"statement_timeout": "20000"})


@dg.run_failure_sensor(name="alert_on_failed_runs", default_status=RUNNING)
def alert_on_failed_runs(context: dg.RunFailureSensorContext, migration: Migration) -> dg.SkipReason | None:
    """Tells of each failed run: the job, the run, and what its failed step says."""
    if not migration.installation.alerts.configured:
        return dg.SkipReason(UNCONFIGURED)
    failed = [event for event in context.get_step_failure_events() if event.is_step_failure]
    words = [f"{event.step_key}: {_said(event)}" for event in failed] or [
        context.failure_event.message or "no step began"
    ]
    run = context.dagster_run
    _tell(migration, f"Failed: {run.job_name}", f"Run {run.run_id}\n{shortened(words)}", "failure")
    return None  # so that the run's own log says that this sensor acted


def _said(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "failed"


@dg.sensor(minimum_interval_seconds=60, default_status=RUNNING, job_name="validation")
def alert_on_failed_checks(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Tells of each evaluation of a check that failed with severity ERROR, also if a later one has passed.

    Reads one event log of all runs, as PostgreSQL keeps it (dagster.yaml).
    """
    if not migration.installation.alerts.configured:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    told = Told.read(context.cursor)
    if told is None:
        newest = _evaluations(context.instance, limit=1)
        return dg.SensorResult(skip_reason=FROM_NOW_ON, cursor=Told(newest[0].storage_id if newest else 0).cursor)
    settled = _settled_evaluation(context.instance, told.after)
    records = _evaluations(context.instance, limit=EVALUATIONS_AT_ONCE, after=told.after, ascending=True)
    ours = context.repository_def.asset_graph.asset_check_keys if context.repository_def else set()
    failed = [words for one in records if one.storage_id not in told.beyond and (words := _failed(one, ours))]
    reached, missed = True, ""
    if failed:
        title = f"{len(failed)} checks failed" if len(failed) > 1 else "A check failed"
        reached, missed = _tell(migration, title, shortened(failed), "failure")
    now_told = told.with_seen([one.storage_id for one in records], settled, full=len(records) == EVALUATIONS_AT_ONCE)
    cursor = now_told.cursor if reached else context.cursor
    return dg.SensorResult(skip_reason=f"{len(failed)} new failed checks.{missed}", cursor=cursor)


def _evaluations(
    instance: dg.DagsterInstance,
    *,
    limit: int,
    after: int | None = None,
    before_timestamp: float | None = None,
    ascending: bool = False,
) -> Sequence[dg.EventLogRecord]:
    wanted = dg.EventRecordsFilter(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=after, before_timestamp=before_timestamp
    )
    return instance.event_log_storage.get_event_records(wanted, limit=limit, ascending=ascending)


def _settled_evaluation(instance: dg.DagsterInstance, after: int) -> int:
    before = time.time() - EVALUATION_SETTLES_SECONDS  # events have the time of the process that made them
    settled = _evaluations(instance, limit=1, after=after, before_timestamp=before)
    return settled[0].storage_id if settled else after


def _failed(record: dg.EventLogRecord, ours: Collection[dg.AssetCheckKey]) -> str | None:
    """In words, if this evaluation is one to tell of: of a check of this code location, and no warning."""
    event = record.event_log_entry.dagster_event
    assert event is not None  # asked for by its type
    evaluation = event.asset_check_evaluation_data
    if evaluation.passed or evaluation.severity != dg.AssetCheckSeverity.ERROR:
        return None
    if evaluation.asset_check_key not in ours:
        return None
    partition = f" [{evaluation.partition}]" if evaluation.partition else ""
    name = f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}{partition}"
    return f"{name}: {evaluation.description or 'failed'}"


@dg.sensor(minimum_interval_seconds=30, default_status=RUNNING, asset_selection="cutover_stage")
def alert_on_decisions(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Tells of each way back, promotion, override and act of the guard, whoever did it, from the audit log."""
    if not migration.installation.alerts.configured:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    told = Told.read(context.cursor)
    try:
        with _looking(migration) as connection:
            if told is None:
                newest = connection.execute(text_of("observability/audit_last_id")).fetchone()
                assert newest is not None  # an aggregate
                return dg.SensorResult(skip_reason=FROM_NOW_ON, cursor=Told(newest["id"]).cursor)
            settled = _settled_decision(connection, told.after)
            wanted = {
                "after": told.after,
                "told": sorted(told.beyond),
                "most": DECISIONS_AT_ONCE,
                "actions": list(ALERTED),
            }
            rows = connection.execute(text_of("observability/decisions_since"), wanted).fetchall()
    except (MigrationError, psycopg.Error) as error:
        return dg.SensorResult(skip_reason=f"The audit log cannot be read: {error}", cursor=context.cursor)
    reached, missed = True, ""
    if rows:
        lines = [
            f"{row['at']:%Y-%m-%d %H:%M:%S} UTC, {row['actor']}: {row['action']}, {row['subject']}. {row['reason'] or ''}"
            for row in rows
        ]
        title = rows[0]["action"].capitalize() if len(rows) == 1 else f"{len(rows)} decisions"
        worse = any(row["action"].startswith(("rollback", "guard")) for row in rows)
        reached, missed = _tell(migration, title, shortened(lines), "warning" if worse else "info")
    now_told = told.with_seen([row["id"] for row in rows], settled, full=len(rows) == DECISIONS_AT_ONCE)
    cursor = now_told.cursor if reached else context.cursor
    return dg.SensorResult(skip_reason=f"{len(rows)} new decisions.{missed}", cursor=cursor)


def _settled_decision(connection: Connection, after: int) -> int:
    """Read before the decisions, so that whatever commits in between is no part of it."""
    row = connection.execute(
        text_of("observability/audit_settled_id"), {"seconds": DECISION_SETTLES_SECONDS}
    ).fetchone()
    return max(after, row["id"]) if row else after


@dg.sensor(minimum_interval_seconds=60, default_status=RUNNING, asset_selection="dual_write_mode")
def alert_on_failure_rate(context: dg.SensorEvaluationContext, migration: Migration) -> dg.SensorResult:
    """Tells when more than 1 % of the extractions of the last hour failed, at most once an hour while it lasts."""
    if not migration.installation.alerts.configured:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    try:
        now = migration.now()
        with _looking(migration) as connection:
            since = {"since": now - FAILURE_RATE_WINDOW}
            row = connection.execute(text_of("observability/extraction_failures"), since).fetchone()
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
    body = f"{words} The limit is {FAILURE_RATE_LIMIT:.0%}."
    reached, missed = _tell(migration, "Extractions fail", body, "failure")
    cursor = json.dumps({"at": now.timestamp()}) if reached else context.cursor
    return dg.SensorResult(skip_reason=words + missed, cursor=cursor)


SENSORS = [alert_on_failed_runs, alert_on_failed_checks, alert_on_decisions, alert_on_failure_rate]
