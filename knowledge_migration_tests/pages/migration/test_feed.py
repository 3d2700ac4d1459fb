"""One look for all: while somebody watches, one at a time, and what was seen stays while the database is away."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.pages.migration.feed import Feed, Seen
from knowledge_migration_tests.knowledge.api.test_problems import away
from knowledge_migration_tests.knowledge.test_watching import becomes, change
from knowledge_migration_tests.pages.migration.conftest import source_of

Seens = list[Seen[Any]]


class Looks:
    """Counts looks; each waits at a gate, and it is seen if two are at work at once."""

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


def feeding(feed: Feed[Any], work: Callable[[Seens], Any]) -> None:
    """Runs `work` with what a viewer is told, while it watches."""

    async def inside() -> None:
        told: Seens = []
        stop = feed.watch(told.append)
        try:
            await work(told)
        finally:
            stop()
            await becomes(lambda: not feed.is_looking)

    asyncio.run(inside())


def test_nobody_looks_before_somebody_watches_nor_after_the_last_has_gone() -> None:
    looks = Looks()
    feed = Feed(looks, pause_seconds=0)

    async def work() -> None:
        assert looks.begun == 0
        first, second = feed.watch(lambda seen: None), feed.watch(lambda seen: None)
        await becomes(lambda: looks.begun > 2)
        first()
        before = looks.begun
        await becomes(lambda: looks.begun > before)
        second()
        await becomes(lambda: not feed.is_looking)
        ended = looks.begun
        await asyncio.sleep(0.1)
        assert (looks.begun, feed.viewers) == (ended, 0)
        again = feed.watch(lambda seen: None)
        await becomes(lambda: looks.begun > ended)
        again()

    asyncio.run(work())


def test_two_looks_are_never_under_way_at_once_however_many_watch_and_ask() -> None:
    looks = Looks(is_open=False)
    feed = Feed(looks, pause_seconds=0)

    async def work() -> None:
        told: list[Seens] = [[] for _ in range(5)]
        stops = [feed.watch(one.append) for one in told]
        await becomes(lambda: looks.begun == 1)
        for stop in stops[1:]:
            stop()
        stops[1:] = [feed.watch(one.append) for one in told[1:]]
        for _ in range(10):
            feed.look_at_once()
        await asyncio.sleep(0.05)
        assert looks.begun == 1
        looks.gate.set()
        await becomes(lambda: looks.begun > 20)
        for stop in stops:
            stop()
        await becomes(lambda: not feed.is_looking)
        assert looks.most_at_once == 1
        assert all(one[0].found == 1 for one in told)

    asyncio.run(work())


def test_a_look_that_is_asked_for_comes_long_before_the_next_is_due_and_is_given_what_was_seen() -> None:
    looks = Looks()
    feed = Feed(looks, pause_seconds=3600)

    async def work(told: Seens) -> None:
        await becomes(lambda: len(told) == 1)
        feed.look_at_once()
        await becomes(lambda: len(told) == 2)
        assert looks.given == [None, 1]

    feeding(feed, work)


def test_a_look_that_is_asked_for_during_another_one_follows_it() -> None:
    looks = Looks(is_open=False)
    feed = Feed(looks, pause_seconds=3600)

    async def work(told: Seens) -> None:
        await becomes(lambda: looks.begun == 1)
        feed.look_at_once()
        looks.gate.set()
        await becomes(lambda: len(told) == 2)

    feeding(feed, work)


def test_a_look_that_does_not_come_back_is_told_and_its_answer_is_taken_when_it_does() -> None:
    looks = Looks(is_open=False)
    feed = Feed(looks, pause_seconds=3600, slow_seconds=0.05)

    async def work(told: Seens) -> None:
        await becomes(lambda: len(told) == 1)
        assert "has not answered" in (told[0].problem or "")
        assert looks.begun == 1
        looks.gate.set()
        await becomes(lambda: len(told) == 2)
        assert (told[1].found, told[1].problem) == (1, None)

    feeding(feed, work)


def test_a_page_that_cannot_show_what_was_seen_does_not_keep_the_others_from_it() -> None:
    feed = Feed(Looks(), pause_seconds=0)

    def broken(seen: Seen[int]) -> None:
        raise RuntimeError("the page is gone")

    async def work(told: Seens) -> None:
        stop = feed.watch(broken)
        await becomes(lambda: len(told) > 3)
        stop()

    feeding(feed, work)


def test_while_the_database_is_away_what_was_seen_stays_with_why_and_since_when_and_it_recovers(
    server: EmbeddedServer, peopled: Database
) -> None:
    change(peopled, dual_write=True)
    feed = Feed(source_of(peopled).read_controls, pause_seconds=0.02)

    async def work(told: Seens) -> None:
        await becomes(lambda: bool(told))
        with away(server, peopled):
            await becomes(lambda: feed.seen.problem is not None)
            failed = feed.seen
            await becomes(lambda: len(told) > told.index(failed) + 1)
            later = feed.seen
            for seen in (failed, later):
                assert seen.found.flags.state == "dual_write"
                assert "Cannot connect" in (seen.problem or "") or "The database says" in (seen.problem or "")
                assert seen.at is not None
                assert seen.failing_since == failed.failing_since
        await becomes(lambda: feed.seen.problem is None)
        assert feed.seen.failing_since is None
        await asyncio.to_thread(change, peopled, cutover_percentage=7)
        await becomes(lambda: feed.seen.found.flags.version == 2)

    feeding(feed, work)


def test_a_fault_of_ours_is_told_without_its_inside() -> None:
    def fails(before: int | None) -> int:
        raise KeyError("secret")

    async def work(told: Seens) -> None:
        await becomes(lambda: bool(told))
        assert (told[0].found, told[0].problem) == (None, "The look failed. The log of the service says why.")

    feeding(Feed(fails, pause_seconds=3600), work)
