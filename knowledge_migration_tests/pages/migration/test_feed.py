"""One feed for all pages: it reads while somebody watches, and keeps the last value while the database is down."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.pages.migration.feed import Feed, Latest
from knowledge_migration_tests.pages.migration.conftest import source_of
from knowledge_migration_tests.support.conditions import becomes
from knowledge_migration_tests.support.flags import change_flags
from knowledge_migration_tests.support.unreachable import away

Readings = list[Latest[Any]]


class Reader:
    """Counts readings; each waits at a gate, and overlapping readings are detected."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.begun = self.at_once = self.most_at_once = 0
        self.given: list[int | None] = []
        self.gate = threading.Event()
        self._lock = threading.Lock()
        if is_open:
            self.gate.set()

    def __call__(self, before: int | None) -> int:
        with self._lock:
            self.begun += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.given.append(before)
            number = self.begun
        self.gate.wait(20)
        with self._lock:
            self.at_once -= 1
        return number


def feeding(feed: Feed[Any], work: Callable[[Readings], Any]) -> None:
    """Runs `work` with what a viewer is shown, while it watches."""

    async def inside() -> None:
        shown: Readings = []
        stop = feed.watch(shown.append)
        try:
            await work(shown)
        finally:
            stop()
            await becomes(lambda: not feed.is_reading)

    asyncio.run(inside())


def test_it_reads_only_while_somebody_watches() -> None:
    reader = Reader()
    feed = Feed(reader, pause_seconds=0)

    async def work() -> None:
        assert reader.begun == 0
        first, second = feed.watch(lambda latest: None), feed.watch(lambda latest: None)
        await becomes(lambda: reader.begun > 2)
        first()
        before = reader.begun
        await becomes(lambda: reader.begun > before)
        second()
        await becomes(lambda: not feed.is_reading)
        ended = reader.begun
        await asyncio.sleep(0.1)
        assert (reader.begun, feed.is_reading) == (ended, False)
        again = feed.watch(lambda latest: None)
        await becomes(lambda: reader.begun > ended)
        again()

    asyncio.run(work())


def test_two_readings_never_overlap_however_many_watch_and_refresh() -> None:
    reader = Reader(is_open=False)
    feed = Feed(reader, pause_seconds=0)

    async def work() -> None:
        shown: list[Readings] = [[] for _ in range(5)]
        stops = [feed.watch(one.append) for one in shown]
        await becomes(lambda: reader.begun == 1)
        for stop in stops[1:]:
            stop()
        stops[1:] = [feed.watch(one.append) for one in shown[1:]]
        for _ in range(10):
            feed.refresh()
        await asyncio.sleep(0.05)
        assert reader.begun == 1
        reader.gate.set()
        await becomes(lambda: reader.begun > 20)
        for stop in stops:
            stop()
        await becomes(lambda: not feed.is_reading)
        assert reader.most_at_once == 1
        assert all(one[0].value == 1 for one in shown)

    asyncio.run(work())


def test_a_refresh_reads_long_before_the_next_reading_is_due_and_passes_the_previous_value() -> None:
    reader = Reader()
    feed = Feed(reader, pause_seconds=3600)

    async def work(shown: Readings) -> None:
        await becomes(lambda: len(shown) == 1)
        feed.refresh()
        await becomes(lambda: len(shown) == 2)
        assert reader.given == [None, 1]

    feeding(feed, work)


def test_a_refresh_during_a_reading_follows_it() -> None:
    reader = Reader(is_open=False)
    feed = Feed(reader, pause_seconds=3600)

    async def work(shown: Readings) -> None:
        await becomes(lambda: reader.begun == 1)
        feed.refresh()
        reader.gate.set()
        await becomes(lambda: len(shown) == 2)

    feeding(feed, work)


def test_a_slow_reading_is_reported_and_its_value_is_used_when_it_arrives() -> None:
    reader = Reader(is_open=False)
    feed = Feed(reader, pause_seconds=3600, slow_seconds=0.05)

    async def work(shown: Readings) -> None:
        await becomes(lambda: len(shown) == 1)
        assert "has not answered" in (shown[0].problem or "")
        assert reader.begun == 1
        reader.gate.set()
        await becomes(lambda: len(shown) == 2)
        assert (shown[1].value, shown[1].problem) == (1, None)

    feeding(feed, work)


def test_a_page_that_fails_does_not_keep_the_others_from_updating() -> None:
    feed = Feed(Reader(), pause_seconds=0)

    def broken(latest: Latest[int]) -> None:
        raise RuntimeError("the page is gone")

    async def work(shown: Readings) -> None:
        stop = feed.watch(broken)
        await becomes(lambda: len(shown) > 3)
        stop()

    feeding(feed, work)


def test_while_the_database_is_down_the_last_value_stays_with_the_reason_and_since_when_and_it_recovers(
    server: EmbeddedServer, peopled: Database
) -> None:
    change_flags(peopled, {"dual_write": True})
    feed = Feed(source_of(peopled).read_controls, pause_seconds=0.02)

    async def work(shown: Readings) -> None:
        await becomes(lambda: bool(shown))
        with away(server, peopled):
            await becomes(lambda: feed.latest.problem is not None)
            failed = feed.latest
            await becomes(lambda: len(shown) > shown.index(failed) + 1)
            later = feed.latest
            for latest in (failed, later):
                assert latest.value.flags.state == "dual_write"
                assert "Cannot connect" in (latest.problem or "") or "The database reports" in (latest.problem or "")
                assert latest.at is not None
                assert latest.failing_since == failed.failing_since
        await becomes(lambda: feed.latest.problem is None)
        assert feed.latest.failing_since is None
        await asyncio.to_thread(change_flags, peopled, {"cutover_percentage": 7})
        await becomes(lambda: feed.latest.value.flags.version == 2)

    feeding(feed, work)


def test_an_internal_error_is_reported_without_its_details() -> None:
    def fails(before: int | None) -> int:
        raise KeyError("secret")

    async def work(shown: Readings) -> None:
        await becomes(lambda: bool(shown))
        assert (shown[0].value, shown[0].problem) == (None, "The state could not be read. See the log of the service.")

    feeding(Feed(fails, pause_seconds=3600), work)
