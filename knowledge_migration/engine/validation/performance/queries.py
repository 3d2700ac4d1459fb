"""The queries that have a limit: those of strategy §9.3, and the list endpoints of the service.

For an endpoint the service's own function is called and its statements are recorded, so the measured statements are always
those that users run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from knowledge_migration.engine.cutover.metrics import FLAGGED
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.entities import list_entities
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC
from knowledge_migration.knowledge.proposals.listing import Page, Wanted, list_proposals, list_runs
from knowledge_migration.thresholds import MetricName

PAGE, RUNS_PAGE, SIMILAR_PAGE = 50, 20, 10


@dataclass(frozen=True)
class LimitedQuery:
    """A query that users wait for; `limited_by` is the gate whose `limit_seconds` applies to it."""

    name: str
    asked_by: str
    limited_by: MetricName
    ask: Callable[[sa.Connection], object]


@dataclass(frozen=True)
class SentStatement:
    """One statement as it reached the driver."""

    text: str
    parameters: Any


def limited_queries(connection: sa.Connection) -> tuple[LimitedQuery, ...]:
    """All queries, for pages that exist in this database; raises `PreconditionError` without a topic proposal."""
    run_id = connection.exec_driver_sql(text_of("performance/benchmark_middle_run")).scalar_one_or_none()
    if run_id is None:
        raise PreconditionError(
            "There is no topic proposal in this database, so the latency of a list has no meaning. Run phase 3 (or an "
            "extraction in dual write) first, then measure."
        )
    queue_end = _end_of(lambda: list_proposals(connection, Wanted(), PAGE))
    runs_end = _end_of(lambda: list_runs(connection, RUNS_PAGE))
    return (
        *_of_the_strategy(),
        _proposals("pending_by_confidence", Wanted()),
        _proposals("pending_by_confidence_next_page", Wanted(), cursor=queue_end),
        _proposals("pending_by_age", Wanted(sort="created_at")),
        _proposals("pending_of_middling_confidence", Wanted(min_confidence=0.5, max_confidence=0.7)),
        _proposals("pending_since_yesterday", Wanted(created_after=datetime.now(UTC) - timedelta(days=1))),
        _proposals("approved_by_age", Wanted(statuses=("approved", "auto_approved"), sort="created_at")),
        _proposals("approved_by_confidence", Wanted(statuses=("approved", "auto_approved"))),
        _proposals("approved_of_a_run", Wanted(statuses=("approved", "auto_approved", "pending"), run_id=run_id)),
        _proposals("similar_to_existing", Wanted(min_similarity=FLAGGED), SIMILAR_PAGE, by="slow_similarity_lists"),
        _runs("runs", None),
        _runs("runs_next_page", runs_end),
        *_of_entities(),
    )


def _end_of(ask: Callable[[], Page]) -> str | None:
    """The cursor of the next page; None after a timeout, so that the first page is measured again and reported as too slow."""
    try:
        return ask().next_cursor
    except sa.exc.OperationalError as error:
        if not is_timeout(error):
            raise
        return None


def statements_of(connection: sa.Connection, query: LimitedQuery) -> list[SentStatement]:
    """The statements that one execution sends, including a last one that meets the timeout."""
    sent: list[SentStatement] = []

    def keep(_: object, __: object, text: str, parameters: Any, *___: object) -> None:
        sent.append(SentStatement(text, parameters))

    sa.event.listen(connection, "before_cursor_execute", keep)
    try:
        query.ask(connection)
    except sa.exc.OperationalError as error:
        if not sent or not is_timeout(error):
            raise
    finally:
        sa.event.remove(connection, "before_cursor_execute", keep)
    return sent


def is_timeout(error: Exception) -> bool:
    """Whether the server cancelled the statement."""
    return isinstance(error, sa.exc.OperationalError) and getattr(error.orig, "sqlstate", None) == "57014"


def _of_the_strategy() -> Sequence[LimitedQuery]:
    def asked(name: str, by: MetricName, **parameters: Any) -> LimitedQuery:
        text = text_of(f"performance/benchmark_{name}")
        return LimitedQuery(
            name, "strategy §9.3", by, lambda connection: connection.exec_driver_sql(text, parameters).fetchall()
        )

    return (
        asked("pending_proposals", "slow_proposal_lists"),
        asked("run_history", "slow_run_histories"),
        asked("similar_proposals", "slow_similarity_lists", flagged=FLAGGED),
    )


def _proposals(
    name: str, wanted: Wanted, limit: int = PAGE, *, cursor: str | None = None, by: MetricName = "slow_proposal_lists"
) -> LimitedQuery:
    return LimitedQuery(
        name,
        "GET /api/v1/knowledge/proposals",
        by,
        lambda connection: list_proposals(connection, wanted, limit, cursor),
    )


def _runs(name: str, cursor: str | None) -> LimitedQuery:
    return LimitedQuery(
        name,
        "GET /api/v1/knowledge/runs",
        "slow_run_histories",
        lambda connection: list_runs(connection, RUNS_PAGE, cursor),
    )


def _of_entities() -> Sequence[LimitedQuery]:
    """The application's own list endpoints, with the limit of the proposal lists."""
    return tuple(
        LimitedQuery(
            f"{kind.name}s_page",
            f"GET /api/v1/{kind.name}s",
            "slow_proposal_lists",
            lambda connection, kind=kind: list_entities(connection, kind, PAGE + 1),  # type: ignore[misc]
        )
        for kind in (TOPIC, ATOM)
    )
