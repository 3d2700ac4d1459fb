"""How tests retire the old paths and open them again. A process of a test imports this, so it loads no web server."""

from datetime import UTC, datetime, timedelta
from typing import Any

from knowledge_migration.engine.cleanup import retirement
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.support.fence_timeouts import PATIENT

QUICK = SchemaChangeSettings(attempts=3, retry_max_seconds=0.05, blocker_age_seconds=0.0)
FULL = {**STAGE_FLAGS["full_cutover"], "dual_write": True}


def change(database: Database, changes: dict[str, Any], reason: str = "a test") -> Flags:
    """Sets flags as anybody would."""
    with database.begin() as transaction:
        return set_flags(transaction, changes, initial=Flags(), actor="a tester", reason=reason)


def in_days(days: float) -> datetime:
    """That many days from now."""
    return datetime.now(UTC) + timedelta(days=days)


def retire(database: Database, **given: Any) -> retirement.Retirement:
    """A retirement three weeks from now, without a live process."""
    wanted = {"reason": "a test", "now": in_days(21), "no_live_writers": True, "required_days": 14, **given}
    timeouts, limits = wanted.pop("timeouts", PATIENT), wanted.pop("limits", SchemaChangeSettings())
    return retirement.retire(database, Flags(), timeouts, limits, **wanted)


def reopen(database: Database, **given: Any) -> retirement.Reopening:
    """Its undo."""
    return retirement.reopen(database, Flags(), given.pop("limits", SchemaChangeSettings()), reason="a test", **given)
