"""Alerts: failed runs, failed checks, rollbacks and promotions, too many failed extractions (strategy §4.2, §6.4, §8.1).

Each alert is sent once: the sensor's cursor records what was sent. An alert that reached no channel is sent again at the next
tick, except for failed runs, which Dagster passes once. A sensor that is switched on sends alerts from then on only.
"""

import json
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from knowledge_migration.defs.resources import Migration
from knowledge_migration.defs.scheduling import NOT_AVAILABLE, why_skipped
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.observability.alerts import AlertCursor, Kind, shortened
from knowledge_migration.knowledge.audit import ALERTED

UNCONFIGURED = "No channel is configured: KNOWLEDGE_MIGRATION_ALERT_URLS names none."
FROM_NOW_ON = "Sends alerts from now on."
RUNNING = dg.DefaultSensorStatus.RUNNING
FAILURE_RATE_LIMIT, FAILURE_RATE_SAMPLE = 0.01, 50
FAILURE_RATE_WINDOW = timedelta(hours=1)
EVALUATION_SETTLES_SECONDS, DECISION_SETTLES_SECONDS = 300.0, 3_600.0
"""How long an entry may take to appear after its id was assigned: an event is stored at once, a decision with its transaction."""

EVALUATIONS_PER_TICK, DECISIONS_PER_TICK = 2_000, 100

Tick = dg.SensorEvaluationContext


@dataclass(frozen=True)
class Outcome:
    """The result of a tick: a summary, the next cursor, and the alert to send, if any."""

    summary: str
    cursor: str | None
    title: str = ""
    body: str = ""
    kind: Kind = "failure"


def _ticked(context: Tick, migration: Migration, evaluate: Callable[[], Outcome], failure: str) -> dg.SensorResult:
    """Evaluates and sends; after an error, and where no channel was reached, the cursor stays for the next tick."""
    if not migration.installation.alerts.urls:
        return dg.SensorResult(skip_reason=UNCONFIGURED)
    try:
        outcome = evaluate()
    except NOT_AVAILABLE as error:
        return dg.SensorResult(skip_reason=why_skipped(failure, error), cursor=context.cursor)
    reached, missed = _send(migration, outcome.title, outcome.body, outcome.kind) if outcome.title else (True, "")
    return dg.SensorResult(skip_reason=outcome.summary + missed, cursor=outcome.cursor if reached else context.cursor)


def _send(migration: Migration, title: str, body: str, kind: Kind) -> tuple[bool, str]:
    """Whether any channel was reached, and a sentence about those that were not."""
    alerts = migration.installation.alerts
    failures = alerts.send(title, body, kind=kind)
    if not failures:
        return True, ""
    reasons = "; ".join(f"{one.channel}: {one.reason}" for one in failures)
    if len(failures) == len(alerts.urls):
        return False, f" No channel was reached ({reasons})."
    return True, f" Not delivered: {reasons}."


@dg.run_failure_sensor(
    name="alert_on_failed_runs",
    default_status=RUNNING,
    description=("Sends an alert for each failed run: the job, the run, and the error of its failed step."),
)
def alert_on_failed_runs(context: dg.RunFailureSensorContext, migration: Migration) -> dg.SkipReason | None:
    if not migration.installation.alerts.urls:
        return dg.SkipReason(UNCONFIGURED)
    failed = [event for event in context.get_step_failure_events() if event.is_step_failure]
    errors = [f"{event.step_key}: {_error(event)}" for event in failed]
    lines = errors or [context.failure_event.message or "no step began"]
    run = context.dagster_run
    _send(migration, f"Failed: {run.job_name}", f"Run {run.run_id}\n{shortened(lines)}", "failure")
    return None  # so that the run's own log shows that this sensor acted


def _error(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "failed"


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=RUNNING,
    job_name="validation",
    description=(
        "Sends an alert for each evaluation of a check that failed with severity ERROR, even if a later one "
        "passed. Reads one event log of all runs, which PostgreSQL storage provides (dagster.yaml)."
    ),
)
def alert_on_failed_checks(context: Tick, migration: Migration) -> dg.SensorResult:

    def evaluate() -> Outcome:
        cursor = AlertCursor.read(context.cursor)
        if cursor is None:
            newest = _evaluations(context.instance, limit=1)
            return Outcome(FROM_NOW_ON, AlertCursor(newest[0].storage_id if newest else 0).text)
        settled = _settled_evaluation(context.instance, cursor.after)
        records = _evaluations(context.instance, limit=EVALUATIONS_PER_TICK, after=cursor.after, ascending=True)
        ours = context.repository_def.asset_graph.asset_check_keys if context.repository_def else set()
        new = [record for record in records if record.storage_id not in cursor.beyond]
        failed = [line for record in new if (line := _failure(record, ours))]
        title = "A check failed" if len(failed) == 1 else f"{len(failed)} checks failed"
        full = len(records) == EVALUATIONS_PER_TICK
        next_cursor = cursor.advanced([record.storage_id for record in records], settled, full=full)
        return Outcome(
            f"{len(failed)} new failed checks.", next_cursor.text, title if failed else "", shortened(failed)
        )

    return _ticked(context, migration, evaluate, "The event log cannot be read")


def _evaluations(
    instance: dg.DagsterInstance,
    *,
    limit: int,
    after: int | None = None,
    before_timestamp: float | None = None,
    ascending: bool = False,
) -> Sequence[dg.EventLogRecord]:
    records_filter = dg.EventRecordsFilter(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=after, before_timestamp=before_timestamp
    )
    return instance.event_log_storage.get_event_records(records_filter, limit=limit, ascending=ascending)


def _settled_evaluation(instance: dg.DagsterInstance, after: int) -> int:
    before = time.time() - EVALUATION_SETTLES_SECONDS  # an event has the time of the process that created it
    settled = _evaluations(instance, limit=1, after=after, before_timestamp=before)
    return settled[0].storage_id if settled else after


def _failure(record: dg.EventLogRecord, ours: Collection[dg.AssetCheckKey]) -> str | None:
    """A line about an evaluation that failed with severity ERROR and belongs to a check of this code location; else None."""
    event = record.event_log_entry.dagster_event
    assert event is not None  # selected by its type
    evaluation = event.asset_check_evaluation_data
    is_error = not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR
    if not is_error or evaluation.asset_check_key not in ours:
        return None
    partition = f" [{evaluation.partition}]" if evaluation.partition else ""
    name = f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}{partition}"
    return f"{name}: {evaluation.description or 'failed'}"


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=RUNNING,
    asset_selection="cutover_stage",
    description=(
        "Sends an alert for each rollback, promotion, override and action of the guard in the audit log, by any actor."
    ),
)
def alert_on_decisions(context: Tick, migration: Migration) -> dg.SensorResult:

    def evaluate() -> Outcome:
        cursor = AlertCursor.read(context.cursor)
        with _session(migration) as connection:
            if cursor is None:
                newest = connection.execute(text_of("observability/audit_last_id")).fetchone()
                assert newest is not None  # an aggregate
                return Outcome(FROM_NOW_ON, AlertCursor(newest["id"]).text)
            settled = _settled_decision(connection, cursor.after)
            parameters = {
                "after": cursor.after, "sent": sorted(cursor.beyond), "most": DECISIONS_PER_TICK, "actions": list(ALERTED),
            }  # fmt: skip
            rows = connection.execute(text_of("observability/decisions_since"), parameters).fetchall()
        next_cursor = cursor.advanced([row["id"] for row in rows], settled, full=len(rows) == DECISIONS_PER_TICK)
        summary = f"{len(rows)} new decisions."
        if not rows:
            return Outcome(summary, next_cursor.text)
        lines = [
            f"{row['at']:%Y-%m-%d %H:%M:%S} UTC, {row['actor']}: {row['action']}, {row['subject']}. {row['reason'] or ''}"
            for row in rows
        ]
        title = rows[0]["action"].capitalize() if len(rows) == 1 else f"{len(rows)} decisions"
        is_warning = any(row["action"].startswith(("rollback", "guard")) for row in rows)
        return Outcome(summary, next_cursor.text, title, shortened(lines), "warning" if is_warning else "info")

    return _ticked(context, migration, evaluate, "The audit log cannot be read")


def _settled_decision(connection: Connection, after: int) -> int:
    """Read before the decisions, so that it does not cover a decision that commits in between."""
    parameters = {"seconds": DECISION_SETTLES_SECONDS}
    row = connection.execute(text_of("observability/audit_settled_id"), parameters).fetchone()
    return max(after, row["id"]) if row else after


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=RUNNING,
    asset_selection="dual_write_mode",
    description=("Sends an alert when more than 1 % of the extractions of the last hour failed, at most once an hour."),
)
def alert_on_failure_rate(context: Tick, migration: Migration) -> dg.SensorResult:

    def evaluate() -> Outcome:
        now = migration.now()
        with _session(migration) as connection:
            since = {"since": now - FAILURE_RATE_WINDOW}
            row = connection.execute(text_of("observability/extraction_failures"), since).fetchone()
        assert row is not None  # an aggregate
        summary = f"{row['failed']:,} of {row['sample']:,} extractions of the last hour failed."
        if row["sample"] < FAILURE_RATE_SAMPLE or row["failed"] / row["sample"] <= FAILURE_RATE_LIMIT:
            return Outcome(summary, context.cursor)
        sent_at = json.loads(context.cursor)["at"] if context.cursor else 0.0
        if now.timestamp() - sent_at < FAILURE_RATE_WINDOW.total_seconds():
            return Outcome(f"{summary} An alert was sent within the last hour.", context.cursor)
        body = f"{summary} The limit is {FAILURE_RATE_LIMIT:.0%}."
        return Outcome(summary, json.dumps({"at": now.timestamp()}), "Extractions fail", body)

    return _ticked(context, migration, evaluate, "The extractions cannot be counted")


def _session(migration: Migration) -> AbstractContextManager[Connection]:
    """A session whose statements end before the tick does."""
    return migration.database.connect("alerts", settings={"statement_timeout": "20000"})
