"""The metrics of the gates: each is a number with its confidence interval, measured over a window (strategy §6.4).

None counts rows of the backfill. Without data `interval` is None, and no verdict can pass.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.backfill.plan import planned
from knowledge_migration.engine.cutover.gates import Interval, LogSums, proportion, ratio, ratio_of_means
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.measurements import BUCKET_SECONDS, EXTRACTION, KEPT
from knowledge_migration.knowledge.proposals.listing import Wanted, list_proposals, list_runs
from knowledge_migration.thresholds import Gate, MetricName

CONTROL_MODES = ("direct", "dual_write")
PROBE_TIMEOUT_MS = 2_000
PROBE_SECONDS = 10.0
REVIEW_PAGE = "GET /review"
FLAGGED = 0.85


@dataclass(frozen=True)
class Window:
    """The time span of a measurement, and the connections that read it."""

    database: Database
    connection: Connection
    since: datetime
    until: datetime

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the queries."""
        return {"since": self.since, "until": self.until}

    @property
    def seconds(self) -> float:
        """Its length."""
        return max(0.0, (self.until - self.since).total_seconds())


@dataclass(frozen=True)
class Measurement:
    """The value of a metric, the number of observations, and details."""

    interval: Interval | None
    sample: int
    detail: dict[str, Any] = field(default_factory=dict)


def measure(gate: Gate, window: Window) -> Measurement:
    """The gate's metric in the window."""
    return METRICS[gate.metric](gate, window)


def _one(window: Window, name: str, **more: Any) -> dict[str, Any]:
    row = window.connection.execute(text_of(f"cutover/gate_{name}"), {**window.parameters, **more}).fetchone()
    assert row is not None  # aggregates without GROUP BY
    return row


def _share(row: Mapping[str, Any]) -> Measurement:
    return Measurement(proportion(row["hits"], row["sample"]), row["sample"], {"hits": row["hits"]})


def _api_error_rate(_: Gate, window: Window) -> Measurement:
    """Of requests; of extractions in any mode where a backend calls the service without its API."""
    requests = _one(window, "requests")
    if requests["sample"]:
        return _share(requests)
    every = _extractions(window).values()
    return _share({name: sum(row[name] for row in every) for name in ("sample", "hits")})


def _extractions(window: Window) -> dict[str, dict[str, Any]]:
    rows = window.connection.execute(text_of("cutover/gate_extractions"), window.parameters)
    return {row["mode"]: row for row in rows}


def _proposal_error_rate(_: Gate, window: Window) -> Measurement:
    return _share(_extractions(window).get("proposal", {"sample": 0, "hits": 0}))


def _sums(rows: list[dict[str, Any]]) -> LogSums:
    totals = (sum(row[name] for row in rows) for name in ("answered", "log_seconds", "log_seconds_squared"))
    return LogSums(*totals)


def _extraction_slowdown(gate: Gate, window: Window) -> Measurement:
    """Against users who still write directly; where these are too few, against earlier measurements."""
    now = _extractions(window)
    treated = _sums([now["proposal"]] if "proposal" in now else [])
    control, against = _sums([now[mode] for mode in CONTROL_MODES if mode in now]), "the other users of the same period"
    if control.count < gate.minimum_sample:
        earlier = _extractions(replace(window, since=window.since - KEPT, until=window.since))
        control, against = _sums([earlier[mode] for mode in CONTROL_MODES if mode in earlier]), "the time before it"
    detail = {"proposal": treated.count, "control": control.count, "against": against}
    return Measurement(ratio(treated, control), min(treated.count, control.count), detail)


def _slow(operation: str) -> Callable[[Gate, Window], Measurement]:
    def measured(gate: Gate, window: Window) -> Measurement:
        assert gate.limit_seconds is not None  # the table defines slow
        within = bisect_right(BUCKET_SECONDS, gate.limit_seconds)
        return _share(_one(window, "slow_requests", operation=operation, within=within))

    return measured


def _slow_queries(ask: Callable[[sa.Connection], object]) -> Callable[[Gate, Window], Measurement]:
    """Runs the service's own query now, as often as the sample needs; one that reaches the timeout ends it, as slow."""

    def measured(gate: Gate, window: Window) -> Measurement:
        assert gate.limit_seconds is not None  # the table defines slow
        seconds: list[float] = []
        began = time.perf_counter()
        with window.database.begin() as transaction:
            transaction.execute(sa.text(f"SET LOCAL statement_timeout = {PROBE_TIMEOUT_MS}"))
            while len(seconds) < gate.minimum_sample and time.perf_counter() - began < PROBE_SECONDS:
                started = time.perf_counter()
                try:
                    ask(transaction)
                except sa.exc.OperationalError as error:
                    if not isinstance(error.orig, psycopg.errors.QueryCanceled):
                        raise
                    return Measurement(Interval.exact(1.0), gate.minimum_sample, {"longer_than_ms": PROBE_TIMEOUT_MS})
                seconds.append(time.perf_counter() - started)
        slow = sum(elapsed > gate.limit_seconds for elapsed in seconds)
        slowest = max(seconds, default=0.0) * 1000
        return Measurement(
            proportion(slow, len(seconds)), len(seconds), {"slowest_ms": round(slowest, 1), "hits": slow}
        )

    return measured


def _pool_exhaustion(_: Gate, window: Window) -> Measurement:
    row = _one(window, "pool_exhaustion")
    return Measurement(Interval.exact(row["hits"]), row["sample"])


def _inconsistencies(_: Gate, window: Window) -> Measurement:
    above = _backfilled_to(window.connection)
    row = _one(window, "inconsistencies", topics_above=above["topic"], atoms_above=above["atom"])
    return Measurement(Interval.exact(row["hits"]), row["sample"], {"first": row["first"] or []})


def _straggler_lag(_: Gate, window: Window) -> Measurement:
    above = _backfilled_to(window.connection)
    row = _one(window, "straggler_lag", topics_above=above["topic"], atoms_above=above["atom"])
    return Measurement(Interval.exact(row["seconds"]), row["rows"])


def _backfilled_to(connection: Connection) -> dict[str, int]:
    """The last ids of the backfill's plan; rows above are new ones."""
    try:
        return {name: plan.upper_id for name, plan in planned(connection).items()}
    except PreconditionError:
        return {"topic": 0, "atom": 0}


def _counted(name: str) -> Callable[[Gate, Window], Measurement]:
    def measured(_: Gate, window: Window) -> Measurement:
        hits = _one(window, name)["hits"]
        return Measurement(Interval.exact(hits), hits)

    return measured


def _auto_approval_rate(_: Gate, window: Window) -> Measurement:
    return _share(_one(window, "auto_approval"))


PERSONS_DECISIONS = [AuditAction.APPROVE_PROPOSAL, AuditAction.REJECT_PROPOSAL, AuditAction.MERGE_PROPOSAL]


def _review_seconds(_: Gate, window: Window) -> Measurement:
    row = _one(window, "review_seconds", actions=PERSONS_DECISIONS)
    value = row["value"]
    return Measurement(None if value is None else Interval.exact(value), row["sample"])


def _proposals_per_message(_: Gate, window: Window) -> Measurement:
    rows = window.connection.execute(text_of("cutover/gate_proposals_per_message"), window.parameters)
    arms = {row["mode"]: (row["sample"], row["mean"], row["variance"]) for row in rows}
    if not {"proposal", "dual_write"} <= arms.keys():
        return Measurement(None, 0)
    interval = ratio_of_means(arms["proposal"], arms["dual_write"])
    return Measurement(interval, min(arms["proposal"][0], arms["dual_write"][0]))


METRICS: Mapping[MetricName, Callable[[Gate, Window], Measurement]] = {
    "api_error_rate": _api_error_rate,
    "proposal_error_rate": _proposal_error_rate,
    "extraction_slowdown": _extraction_slowdown,
    "slow_extractions": _slow(EXTRACTION),
    "slow_proposal_lists": _slow_queries(lambda connection: list_proposals(connection, Wanted(), 50)),
    "slow_run_histories": _slow_queries(lambda connection: list_runs(connection, 20)),
    "slow_similarity_lists": _slow_queries(
        lambda connection: list_proposals(connection, Wanted(min_similarity=FLAGGED), 10)
    ),
    "slow_review_pages": _slow(REVIEW_PAGE),
    "pool_exhaustion": _pool_exhaustion,
    "inconsistencies": _inconsistencies,
    "open_shadow_failures": _counted("open_shadow_failures"),
    "straggler_lag": _straggler_lag,
    "queue_depth": _counted("queue_depth"),
    "auto_approval_rate": _auto_approval_rate,
    "review_seconds": _review_seconds,
    "proposals_per_message": _proposals_per_message,
}
