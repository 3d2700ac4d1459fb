"""The pages that the operator lists: timed over real HTTP, failures that name them, and secrets that stay where they are."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from knowledge_migration.addresses import shown
from knowledge_migration.demo.live_application import free_port
from knowledge_migration.engine.validation.performance import pages as module
from knowledge_migration.engine.validation.performance.pages import UnreachablePageError, measure_pages
from knowledge_migration.settings import SettingsError, load_settings

SECRET = "s3cr3t"
Seen = list[tuple[str, str, str | None]]


@contextmanager
def site(elsewhere: str = "") -> Iterator[tuple[str, Seen]]:
    """A web site with pages that are well, moved elsewhere, broken, closed to strangers, and endless; and who asked."""
    seen: Seen = []
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append((self.command, self.path, self.headers.get("Authorization")))
            path = self.path.partition("?")[0]
            allowed = self.headers.get("Authorization") == f"Bearer {SECRET}"
            status = {"/moved": 302, "/broken": 500, "/closed": 200 if allowed else 401}.get(path, 200)
            self.send_response(status)
            if path == "/moved":
                self.send_header("Location", elsewhere)
            if path == "/endless":
                self.send_header("Connection", "close")
                self.end_headers()
                return self._drip()
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
            return None

        def _drip(self) -> None:
            while not stop.wait(0.02):
                try:
                    self.wfile.write(b".")
                except OSError:
                    return
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_pages_are_timed_in_turn_with_get_only() -> None:
    with site() as (url, seen):
        first, second = measure_pages([f"{url}/one?page=1", f"{url}/two"], samples=10)
    assert [path for _, path, _ in seen] == ["/one?page=1", "/two"] * 12
    assert {method for method, _, _ in seen} == {"GET"}
    assert (first.url, first.samples, first.status) == (f"{url}/one?page=1", 10, 200)
    assert 0 < second.median_ms <= second.p95_ms <= second.p99_ms <= second.max_ms
    assert first.to_evidence().keys() >= {"url", "samples", "median_ms", "p95_ms", "p99_ms", "max_ms"}


def test_without_pages_nothing_is_asked() -> None:
    assert measure_pages([], samples=10) == ()


def test_the_token_is_sent_to_the_listed_host_and_not_where_it_redirects_to() -> None:
    with site() as (other, strangers), site(elsewhere=f"{other}/one") as (url, seen):
        (closed, moved) = measure_pages([f"{url}/closed", f"{url}/moved"], samples=5, bearer_token=SECRET)
    assert (closed.status, moved.status) == (200, 302)
    assert {token for _, _, token in seen} == {f"Bearer {SECRET}"}
    assert strangers == []


@pytest.mark.parametrize(("path", "status"), [("/broken", "500"), ("/closed", "401")])
def test_a_page_that_answers_an_error_is_named(path: str, status: str) -> None:
    with site() as (url, _), pytest.raises(UnreachablePageError, match=rf"{url}{path} answers {status}"):
        measure_pages([f"{url}/one", f"{url}{path}"], samples=5)


def test_a_page_that_nobody_serves_is_named_without_its_secrets() -> None:
    address = f"http://ada:{SECRET}@127.0.0.1:{free_port()}/page?token={SECRET}&tab=atoms"
    with pytest.raises(UnreachablePageError, match=r"/page\?token=\*\*\*&tab=atoms does not answer") as away:
        measure_pages([address], samples=5)
    assert SECRET not in str(away.value)
    assert "ada" not in str(away.value)
    assert away.value.__suppress_context__


def test_a_page_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.3)
    with site() as (url, _), pytest.raises(UnreachablePageError, match="/endless does not answer"):
        measure_pages([f"{url}/endless"], samples=5)


def test_a_slow_page_is_asked_less_often() -> None:
    """Each request takes 2 s by this clock, so its budget of 5 s is spent after three; five are taken in any case."""
    ticks = iter(range(0, 100_000, 1))
    with site() as (url, seen):
        (slow,) = measure_pages([f"{url}/one"], samples=50, clock=lambda: float(next(ticks)))
    assert slow.samples == module.FEWEST
    assert len(seen) == module.FEWEST + module.WARM_UP


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"https://ada:{SECRET}@host:8443/a/b?page=2", "https://host:8443/a/b?page=2"),
        (f"https://host/?api_key={SECRET}&page=2#top", "https://host/?api_key=***&page=2"),
        (f"https://host/x?q={'a' * 40}", "https://host/x?q=***"),
        ("http://[::1]:8000/x", "http://[::1]:8000/x"),
        ("http://host/x?q=a%20b&empty=", "http://host/x?q=a%20b&empty="),
    ],
)
def test_what_may_be_a_secret_is_left_out(url: str, expected: str) -> None:
    assert shown(url) == expected


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        (f'["ftp://ada:{SECRET}@host/x"]', "place 1"),
        (f'["http://host/x", "host/{SECRET}"]', "place 2"),
        (f'["http://:80/{SECRET}"]', "place 1"),
        (f'["http://host:{SECRET}/x"]', "place 1"),
        (f'["http://host/x?token={SECRET}", "http://host/x?token=another"]', "cannot be told apart"),
    ],
)
def test_addresses_that_cannot_be_used_are_refused_without_their_content(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, urls: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BASELINE_URLS", urls)
    with pytest.raises(SettingsError, match=f"BASELINE_URLS .*{reason}") as refused:
        load_settings()
    assert SECRET not in str(refused.value)


def test_the_settings_hide_what_the_addresses_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BASELINE_URLS", f'["http://ada:{SECRET}@host/x"]')
    monkeypatch.setenv("BASELINE_BEARER_TOKEN", SECRET)
    settings = load_settings()
    assert SECRET not in f"{settings!r} {settings.model_dump()}"
    assert [url.get_secret_value() for url in settings.performance.baseline_urls] == [f"http://ada:{SECRET}@host/x"]
