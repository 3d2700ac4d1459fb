"""A process that is killed in the middle of an extraction leaves nothing half written, in any mode."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.writing.runs import fail_abandoned_runs
from knowledge_migration_tests.engine.backfill.backfilling import count, gone, until
from knowledge_migration_tests.knowledge.conftest import FOUND, ServiceMaker
from knowledge_migration_tests.support.flags import DIRECT, DUAL, PROPOSAL

PROGRAM = """
import asyncio, json, sys
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.knowledge.conftest import FOUND, FakeExtractor
given = json.loads(sys.argv[1])
async def when_told(messages):
    await asyncio.to_thread(sys.stdin.readline)
    return FOUND
options = ServiceOptions(database_url=given["url"], initial_flags=Flags(**given["flags"]), shadow_timeout_ms=60_000)
service = KnowledgeService(options, FakeExtractor(when_told))
async def main():
    async with service.running():
        written = await service.extract((1, 2, 3), 1)
        print(written.mode)
asyncio.run(main())
"""

# what another session locks, so that the transaction waits after it has begun to write
BLOCKS = {"direct": "messages", "dual_write": "knowledge_extraction_runs", "proposal": "migration.audit_log"}


def start(database: Database, flags: Flags) -> "subprocess.Popen[str]":
    given = json.dumps({"url": database.url, "flags": flags.values})
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )


@pytest.mark.parametrize(("flags", "mode"), [(DIRECT, "direct"), (DUAL, "dual_write"), (PROPOSAL, "proposal")])
def test_a_kill_in_the_middle_leaves_nothing_and_the_messages_can_be_extracted_again(
    peopled: Database, rows: Connection, make_service: ServiceMaker, flags: Flags, mode: str
) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'knowledge service' AND wait_event_type = 'Lock' "
        "AND query ~ '^(UPDATE messages|WITH topic_inserted|INSERT INTO migration.audit_log)'"
    )
    with peopled.connect("a holder") as holder:
        process = start(peopled, flags)
        until(rows, "SELECT count(*) FROM knowledge_extraction_runs WHERE status = 'running'")
        holder.execute("BEGIN")
        holder.execute(f"LOCK TABLE {BLOCKS[mode]} IN SHARE ROW EXCLUSIVE MODE")
        assert process.stdin
        process.stdin.write("go on\n")
        process.stdin.flush()
        until(rows, waiting)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        holder.execute("ROLLBACK")
    gone(rows, "knowledge service")
    for table in ("topics", "atoms", "topic_atoms", "topic_proposals", "atom_proposals"):
        assert count(rows, f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
    assert count(rows, "SELECT count(*) FROM messages WHERE topic_id IS NOT NULL") == 0
    rows.execute("UPDATE knowledge_extraction_runs SET started_at = started_at - interval '1 hour'")
    rows.execute("UPDATE migration.writer_heartbeat SET seen_at = seen_at - interval '1 hour'")
    with peopled.begin() as transaction:
        assert fail_abandoned_runs(transaction, 30) == 1

    async def again() -> str:
        service = make_service(FOUND, initial_flags=flags)
        async with service.running():
            return (await service.extract((1, 2, 3), 1)).mode

    assert asyncio.run(again()) == mode
