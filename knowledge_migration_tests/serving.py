"""A real service or application on a loopback port, in a thread of the test, on the database of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from knowledge_migration.demo.live_application import free_port
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.knowledge.api.app import KEEP_ALIVE_SECONDS, create_app
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService

PEOPLE_AND_MESSAGES = """
INSERT INTO users (first_name, is_active, is_bot) SELECT 'user ' || n, true, false FROM generate_series(1, 20) AS n;
INSERT INTO sources (name, type, is_active) VALUES ('chat', 'telegram', true);
INSERT INTO messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT 'm' || n,
       CASE n % 3
           WHEN 0 THEN 'Decision: `part-' || n % 25 || '` keeps its audit log in PostgreSQL.'
           WHEN 1 THEN 'Problem: `part-' || n % 25 || '` fails when the disk is full. The fix is to check the space.'
           ELSE 'How do we test `part-' || n % 25 || '`?'
       END,
       timestamp '2026-01-01' + n * interval '1 minute', 1, 1 + n % 20, false
FROM generate_series(1, 200) AS n;
"""


@contextmanager
def serving(database: Database, extractor: Any = None, **options: Any) -> Iterator[str]:
    """Runs the service while the block runs; yields its address."""
    service = KnowledgeService(ServiceOptions(database_url=database.url, **options), extractor or LocalExtractor())
    with serving_app(create_app(service)) as url:
        yield url


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """Runs an application while the block runs; yields its address."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    pause = threading.Event()
    try:
        for _ in range(1_000):
            if server.started:
                break
            assert thread.is_alive(), "the application did not start"
            pause.wait(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
