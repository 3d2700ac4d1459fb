"""The service under load: `python -m knowledge_migration_tests.benchmarks.service`.

1. The three modes, interleaved over the same messages, one extraction at a time: ratio of the medians to direct mode.
2. Fifty concurrent extractions over HTTP in each mode: p95, errors. Data: `data/small`, else this Python's documentation.
"""

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from knowledge_migration.demo.loader import build_legacy_schema, load
from knowledge_migration.demo.python_documentation import PythonDocumentation
from knowledge_migration.demo.traffic.report import percentile
from knowledge_migration.engine.foundation import embedded_server
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.conftest import SHARED_DATA
from knowledge_migration_tests.serving import serving
from knowledge_migration_tests.support.json_lines import JsonLinesFolder

MODES = {
    "direct": Flags(),
    "dual_write": Flags(dual_write=True),
    "proposal": Flags(enabled=True, cutover_percentage=100),
}
GROUPS = 400
CONCURRENT = 50


def main() -> None:
    """Prints both tables."""
    with tempfile.TemporaryDirectory(prefix="service_") as folder:
        Path(folder).chmod(0o755)
        server = embedded_server.start(Path(folder) / "data", cleanup="delete")
        database = server.ensure_database("service")
        build_legacy_schema(database)
        small = SHARED_DATA / "small"
        load(database, JsonLinesFolder(small) if small.exists() else PythonDocumentation())
        schema.upgrade(database, SchemaChangeSettings())
        with database.connect("benchmark") as connection:
            ids = [row["id"] for row in connection.execute("SELECT id FROM messages ORDER BY id")]
        asyncio.run(interleaved(database, ids))
        for mode, flags in MODES.items():
            concurrent(database, ids, mode, flags)


async def interleaved(database: Database, ids: list[int]) -> None:
    """One extraction at a time, in each mode, in random order."""
    order = random.Random(1)
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    service = KnowledgeService(ServiceOptions(database_url=database.url, queue_limit=10**9), LocalExtractor())
    async with service.running():
        for _ in range(GROUPS):
            group = order.sample(ids, 3)
            for mode in order.sample(list(MODES), len(MODES)):
                service.watcher.flags = MODES[mode]
                started = time.perf_counter()
                written = await service.extract(group, 1)
                seconds[mode].append(time.perf_counter() - started)
                assert written.mode == mode
                assert not written.shadow_failed
    direct = statistics.median(seconds["direct"])
    for mode, taken in seconds.items():
        median = statistics.median(taken)
        print(f"interleaved, {mode}: median {1000 * median:.1f} ms, {median / direct:.2f} of direct mode")


def concurrent(database: Database, ids: list[int], mode: str, flags: Flags) -> None:
    """Rounds of fifty concurrent extractions, of the same and of different messages."""
    order, latencies, statuses = random.Random(2), list[float](), list[int]()

    async def one(client: httpx.AsyncClient, group: list[int]) -> None:
        started = time.perf_counter()
        answer = await client.post("/api/v1/knowledge/extract", json={"message_ids": group, "user_id": 1})
        latencies.append(1000 * (time.perf_counter() - started))
        statuses.append(answer.status_code)

    async def rounds(url: str) -> None:
        async with httpx.AsyncClient(
            base_url=url, timeout=60, limits=httpx.Limits(max_connections=CONCURRENT)
        ) as client:
            for _ in range(5):
                await asyncio.gather(*(one(client, order.sample(ids, 3)) for _ in range(CONCURRENT)))
                await asyncio.gather(*(one(client, ids[:3]) for _ in range(CONCURRENT)))

    with serving(database, initial_flags=flags, queue_limit=10**9) as url:
        asyncio.run(rounds(url))
    latencies.sort()
    errors = sum(status != 200 for status in statuses)
    print(
        f"{CONCURRENT} concurrent, {mode}: {len(latencies)} extractions, p50 {percentile(latencies, 0.5):.0f} ms, "
        f"p95 {percentile(latencies, 0.95):.0f} ms, slowest {latencies[-1]:.0f} ms, {errors} errors"
    )


if __name__ == "__main__":
    main()
