"""Changes of the flags, and a watcher of them that runs in the test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.flag_watcher import FlagWatcher
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration.knowledge.options import ServiceOptions

DIRECT, DUAL = Flags(), Flags(dual_write=True)
PROPOSAL = Flags(enabled=True, cutover_percentage=100)


def change_flags(database: Database, changes: dict[str, Any], **more: Any) -> Flags:
    """Sets flags in a transaction of its own."""
    given = {"initial": Flags(), "actor": "a test", "reason": "to see", **more}
    with database.begin() as transaction:
        return set_flags(transaction, changes, **given)


def watch(database: Database, work: Callable[[FlagWatcher], Awaitable[Any]], **options: Any) -> Any:
    """Does work while a watcher of the flags runs."""

    async def inside() -> Any:
        async with FlagWatcher(ServiceOptions(database_url=database.url, **options)).running() as watcher:
            return await work(watcher)

    return asyncio.run(inside())
