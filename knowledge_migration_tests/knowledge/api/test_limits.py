"""What a request may cost before its caller is known, over real connections to the real command."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.sync.client import connect

from knowledge_migration.demo.live_application import free_port, wait_until_healthy
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.knowledge.api import limits
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, cloned
from knowledge_migration_tests.support.conditions import comes_true

TOKEN = "a token of sixteen characters"
LARGE = 30_000_000


@pytest.fixture(scope="module")
def database(server: EmbeddedServer) -> Iterator[Database]:
    """A database after phase 1 for the module."""
    with cloned(server, EXPANDED_TEMPLATE) as copy:
        yield copy


@pytest.fixture(scope="module")
def served(
    database: Database, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[str, psutil.Process]]:
    """The service as a process, with a token unless the test says otherwise."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    variables = {
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "KNOWLEDGE_MIGRATION_HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        **({} if getattr(request, "param", None) == "open" else {"KNOWLEDGE_API_ADMIN_TOKEN": TOKEN}),
    }
    command = [sys.executable, "-m", "knowledge_migration.commands.main", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=variables, cwd=folder)
    try:
        assert wait_until_healthy(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def refused(url: str, reason: str) -> float:
    text = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text
    (line,) = (
        line for line in text.splitlines() if line.startswith(f'knowledge_http_refused_total{{reason="{reason}"}}')
    )
    return float(line.split()[-1])


def chunks() -> Iterator[bytes]:
    for _ in range(LARGE // 1_000_000):
        yield b"x" * 1_000_000


def test_an_anonymous_body_is_not_read_and_a_large_one_is_refused(served: tuple[str, psutil.Process]) -> None:
    url, process = served
    before = process.memory_info().rss
    routes = ("/api/v1/topics", "/api/v1/knowledge/extract", "/api/v1/admin/config/feature-flags")
    for route in routes:
        answer = httpx.post(f"{url}{route}", content=b"[" * LARGE, timeout=30)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), answer.text
    known = {"Authorization": f"Bearer {TOKEN}"}
    for body in (b"[" * LARGE, chunks()):
        answer = httpx.post(f"{url}/api/v1/topics", content=body, headers=known, timeout=30)
        assert answer.status_code == 413, answer.text
        assert "KNOWLEDGE_BODY_LIMIT_BYTES" in answer.json()["detail"]
    assert httpx.post(f"{url}/sign-in", content=b"a=" + b"x" * LARGE, timeout=30).status_code == 413
    assert (
        httpx.post(f"{url}/api/v1/topics", json={"name": "x" * 20, "description": ""}, headers=known).status_code == 201
    )
    assert process.memory_info().rss - before < LARGE
    assert (refused(url, "access"), refused(url, "body")) == (len(routes), 3)


@pytest.mark.parametrize("served", ["open"], indirect=True)
def test_without_a_token_a_page_on_another_port_of_this_machine_decides_nothing(
    served: tuple[str, psutil.Process],
) -> None:
    url, _ = served
    topic = {"name": "from a page", "description": ""}
    for origin in ("http://127.0.0.1:1", "http://localhost:8000", "https://example.org", "null"):
        assert httpx.post(f"{url}/api/v1/topics", json=topic, headers={"Origin": origin}).status_code == 403, origin
    assert httpx.post(f"{url}/api/v1/topics", json=topic, headers={"Sec-Fetch-Site": "same-site"}).status_code == 403
    assert httpx.post(f"{url}/api/v1/topics", json=topic, headers={"Origin": url}).status_code == 201


def test_a_socket_of_a_page_outlives_the_limit_of_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEADER_SECONDS", 0.2)

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    port = free_port()
    config = uvicorn.Config(echo, port=port, http=limits.BoundedHeaders, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        comes_true(lambda: server.started)
        with connect(f"ws://127.0.0.1:{port}") as page:
            with pytest.raises(TimeoutError):
                page.recv(timeout=10 * limits.HEADER_SECONDS)
            page.send("still here")
            assert page.recv(timeout=30) == "still here"
    finally:
        server.should_exit = True
        thread.join(30)


def test_half_open_connections_are_closed_and_whole_requests_are_not(served: tuple[str, psutil.Process]) -> None:
    url, process = served
    port = int(url.rpartition(":")[2])
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for number, one in enumerate(opened):
        one.sendall((b"", b"GET /health HTTP/1.1\r\nHost: 127", b"GET")[number % 3])
    kept = socket.create_connection(("127.0.0.1", port))
    until = time.monotonic() + 20 * limits.HEADER_SECONDS
    for one in opened:
        one.settimeout(max(until - time.monotonic(), 0.1))
        assert one.recv(1_000) == b""
        one.close()
    kept.close()
    assert refused(url, "headers") >= len(opened)
    assert httpx.get(f"{url}/health").status_code == 200
    assert process.is_running()
