"""Tells people, through any channel that apprise knows by its URL: mail, chat, pager, a webhook (strategy §4.2, §6.4).

A channel that hangs holds nobody up, and one that fails stops neither the others nor the caller: what could not be delivered
is returned, and nothing is raised. URLs hold secrets: they go to the process of their channel through a pipe, and a channel
is only ever called by its scheme and a short digest.
"""

import hashlib
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from knowledge_migration.engine.observability import alert_delivery
from knowledge_migration.engine.observability.alert_delivery import Ending

CHANNEL_SECONDS = 10.0  # a tick of Dagster has 60 s, and tells of up to five failed runs one by one
DIGITS = 6
LINE_CHARACTERS = 500
SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,15})://", re.IGNORECASE)

Kind = Literal["info", "success", "warning", "failure"]

WORDS: dict[int, str] = {Ending.UNUSABLE: "its address cannot be used", Ending.REFUSED: "it did not take the message"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undelivered:
    """A channel that did not take an alert, and why as far as it can be told."""

    channel: str
    reason: str


@dataclass(frozen=True)
class Alerts:
    """The channels that the settings name; `seconds` is what each has, a second attempt included."""

    urls: tuple[str, ...] = field(repr=False, default=())
    seconds: float = CHANNEL_SECONDS

    @property
    def configured(self) -> bool:
        """Whether there is any channel."""
        return bool(self.urls)

    def unusable_places(self) -> list[int]:
        """The places, from 1, of the URLs that apprise cannot use."""
        return [place for place, reason in enumerate(self._each({}), start=1) if reason == WORDS[Ending.UNUSABLE]]

    def send(self, title: str, body: str, *, kind: Kind = "warning") -> list[Undelivered]:
        """Tells every channel at once; returns those that did not take it. Takes `seconds`, however many there are."""
        if not self.urls:
            log.warning("The alert %r went nowhere: KNOWLEDGE_MIGRATION_ALERT_URLS names no channel.", title)
        reasons = self._each({"title": title, "body": body, "kind": kind})
        failures = [Undelivered(_called(url), reason) for url, reason in zip(self.urls, reasons, strict=True) if reason]
        for failure in failures:
            log.warning("The alert %r did not reach %s: %s.", title, failure.channel, failure.reason)
        return failures

    def reached_nobody(self, failures: Sequence[Undelivered]) -> bool:
        """Whether not one channel took it, so that it is to be told again."""
        return len(failures) == len(self.urls)

    def _each(self, message: dict[str, str]) -> list[str | None]:
        with ThreadPoolExecutor(max(1, len(self.urls))) as pool:
            return list(pool.map(partial(_deliver, message, self.seconds), self.urls))


def _deliver(message: dict[str, str], seconds: float, url: str) -> str | None:
    """Why the channel did not take it; None if it did. What was refused is tried once more in the time that is left."""
    until, told = time.monotonic() + seconds, {**message, "url": url}
    reason = _attempt(told, seconds)
    left = until - time.monotonic()
    if reason in (None, WORDS[Ending.UNUSABLE]) or left <= 0:
        return reason
    return _attempt(told, left)


def _attempt(message: dict[str, str], seconds: float) -> str | None:
    """One process; it is killed when its time is over."""
    command = [sys.executable, "-P", alert_delivery.__file__]
    told, nowhere = json.dumps(message).encode(), subprocess.DEVNULL
    try:
        ended = subprocess.run(command, input=told, stdout=nowhere, stderr=nowhere, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "no answer in time"
    except OSError as error:
        return f"its process did not start ({type(error).__name__})"
    if ended.returncode == Ending.DELIVERED:
        return None
    return WORDS.get(ended.returncode, f"its process broke ({ended.returncode})")


def _called(url: str) -> str:
    """A channel without its secrets; what has no scheme may be nothing but a secret."""
    scheme = SCHEME.match(url)
    digest = hashlib.sha256(url.encode(errors="backslashreplace")).hexdigest()[:DIGITS]
    return f"{scheme[1] if scheme else 'unreadable'} channel {digest}"


def shortened(lines: Sequence[str], most: int = 10) -> str:
    """The first lines, cut to what a channel takes, and how many there are more."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*(line[:LINE_CHARACTERS] for line in lines[:most]), *more])


@dataclass(frozen=True)
class Told:
    """What a watcher has told: every entry up to an id, and some beyond it.

    An id is given before its transaction commits, so one below the newest may appear later. Nothing is passed over until it
    is old enough that no such transaction is left.
    """

    after: int
    beyond: frozenset[int] = frozenset()

    @classmethod
    def read(cls, cursor: str | None) -> "Told | None":
        """From a cursor; None where there is none yet."""
        if cursor is None:
            return None
        kept = json.loads(cursor)
        return cls(kept["after"], frozenset(kept["beyond"]))

    @property
    def cursor(self) -> str:
        """To be read again."""
        return json.dumps({"after": self.after, "beyond": sorted(self.beyond)})

    def with_seen(self, ids: Sequence[int], settled: int, *, full: bool) -> "Told":
        """After these were told as well, in ascending order, when no entry up to `settled` can still appear.

        `full`: there may be more of them than were asked for, so that nothing is told beyond the last.
        """
        after = max(self.after, min(settled, ids[-1]) if full else settled)
        return Told(after, frozenset(one for one in self.beyond | set(ids) if one > after))
