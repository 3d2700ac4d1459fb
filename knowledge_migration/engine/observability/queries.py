"""The dashboard queries (strategy §4.2, §6.4, §11.2, appendix C), each a file `sql/metrics/dashboard_<name>.sql`.

Those with a `label` column are sampled: each of their numeric columns is a metric `<name>.<column>`. The others are tables.
Windows hold what users' extractions made; the backfill's proposals are left out of all of them (ERRATA V21).
"""

from dataclasses import dataclass
from typing import Any

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge import audit

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class DashboardQuery:
    """One query: what it shows, over how many seconds of extractions, and whether it is sampled."""

    name: str
    title: str
    window_seconds: float | None = None
    sampled: bool = True

    def ask(self, connection: Connection, *, threshold: float) -> list[dict[str, Any]]:
        """Its rows; `threshold` is that of automatic approval."""
        parameters = {"window_seconds": self.window_seconds, "threshold": threshold}
        audited = {"proposal": audit.PROPOSAL, "auto_approve": audit.AuditAction.AUTO_APPROVE_PROPOSAL}
        if self.window_seconds is None:
            return connection.execute(text_of(f"observability/dashboard_{self.name}")).fetchall()
        query = statement(f"observability/dashboard_{self.name}", since=statement("observability/proposals_since"))
        return connection.execute(query, parameters | audited).fetchall()


QUERIES: tuple[DashboardQuery, ...] = (
    DashboardQuery("backlog", "Review queue: how many wait, and how long"),
    DashboardQuery("rates", "Extractions and proposals of the last hour, by mode and outcome"),
    DashboardQuery("new_knowledge", "Topics and atoms that the last hour brought"),
    DashboardQuery(
        "status_distribution", "Proposals of 24 hours by status, with their average confidence", DAY_SECONDS
    ),
    DashboardQuery("auto_approval", "Automatic approval in 24 hours: share, and share that stayed", DAY_SECONDS),
    DashboardQuery("duplicates", "Duplicate detection in 24 hours: share, and average score", DAY_SECONDS),
    DashboardQuery("review_velocity", "Reviews of 24 hours: how many, how long proposals had waited", DAY_SECONDS),
    DashboardQuery("review_by_day", "Reviews by day, a week", 7 * DAY_SECONDS, sampled=False),
    DashboardQuery("waiting_longest", "Waiting for review for more than a day", sampled=False),
    DashboardQuery("runs", "The latest extractions", sampled=False),
    DashboardQuery(
        "sure_but_not_approved", "Sure enough, and not approved automatically, a week", 7 * DAY_SECONDS, sampled=False
    ),
)
