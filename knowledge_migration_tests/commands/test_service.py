"""The service beside a database that nobody has migrated yet."""

import threading
from collections import Counter
from uuid import uuid4

import httpx

from knowledge_migration.commands.service import sweeping
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.status.prometheus import MigrationCollector
from knowledge_migration.engine.status.reading import with_connect_limits
from knowledge_migration.knowledge.api.app import create_app
from knowledge_migration.knowledge.extraction.local import LocalExtractor
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.settings import BackfillSettings, Settings
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving_app


def test_before_phase_1_the_service_leaves_no_error_in_the_log_of_the_server(
    database: Database, server: EmbeddedServer
) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    log = server.data_directory / "log"
    begin = log.stat().st_size
    options = ServiceOptions(database_url=database.url, measurement_seconds=0.1)
    collector = MigrationCollector(with_connect_limits(database), Settings())
    app = create_app(KnowledgeService(options, LocalExtractor(), collector=collector))
    with (
        sweeping(database, BackfillSettings()),
        serving_app(app) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        for path in ("/health", "/metrics", "/api/v1/topics", "/api/v1/atoms"):
            http.get(path)
        for path in ("runs", "proposals", "decisions", f"runs/{uuid4()}", f"proposals/{uuid4()}"):
            answer = http.get(f"/api/v1/knowledge/{path}")
            assert (answer.status_code, "no proposal schema" in answer.json()["detail"]) == (503, True)
        assert http.post(f"/api/v1/knowledge/proposals/{uuid4()}/approve", json={}).status_code == 503
        body = {"message_ids": [1, 2], "user_id": 1}
        assert http.post("/api/v1/knowledge/extract", json=body).json()["mode"] == "direct"
        threading.Event().wait(2)  # the background work
    lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    errors = Counter(line.partition("ERROR:")[2].strip() for line in lines if "ERROR:" in line)
    assert errors == {}
