"""Sends alerts to any channel that apprise supports: mail, chat, pager, a webhook (strategy §4.2, §6.4).

Each channel has a process of its own, which runs this file: one that hangs is killed, one that fails affects no other, and
nothing is raised. URLs hold secrets: they reach that process through a pipe, and messages name only scheme and digest.
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
from enum import IntEnum
from functools import partial
from typing import Literal

CHANNEL_SECONDS = 10.0  # a tick of Dagster has 60 s and may send up to five alerts one after the other
DIGITS = 6
LINE_CHARACTERS = 500
SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,15})://", re.IGNORECASE)

Kind = Literal["info", "success", "warning", "failure"]

log = logging.getLogger(__name__)


class Exit(IntEnum):
    """The exit codes of a delivery; Python itself exits with 1 after an error."""

    DELIVERED = 0
    UNUSABLE = 3
    REJECTED = 4


REASONS: dict[int, str] = {Exit.UNUSABLE: "its address cannot be used", Exit.REJECTED: "it did not accept the message"}


@dataclass(frozen=True)
class Undelivered:
    """A channel that did not accept an alert, and the reason as far as it is known."""

    channel: str
    reason: str


@dataclass(frozen=True)
class Alerts:
    """The configured channels; `seconds` is the time limit of each, including a second attempt."""

    urls: tuple[str, ...] = field(repr=False, default=())
    seconds: float = CHANNEL_SECONDS

    def unusable_places(self) -> list[int]:
        """The places, from 1, of the URLs that apprise cannot use."""
        return [place for place, reason in enumerate(self._each({}), start=1) if reason == REASONS[Exit.UNUSABLE]]

    def send(self, title: str, body: str, *, kind: Kind = "warning") -> list[Undelivered]:
        """Sends to all channels concurrently, within `seconds`; returns those that did not accept the alert."""
        if not self.urls:
            log.warning("The alert %r was not sent: KNOWLEDGE_MIGRATION_ALERT_URLS names no channel.", title)
        reasons = self._each({"title": title, "body": body, "kind": kind})
        failures = [Undelivered(_name(url), reason) for url, reason in zip(self.urls, reasons, strict=True) if reason]
        for failure in failures:
            log.warning("The alert %r was not delivered to %s: %s.", title, failure.channel, failure.reason)
        return failures

    def _each(self, message: dict[str, str]) -> list[str | None]:
        with ThreadPoolExecutor(max(1, len(self.urls))) as pool:
            return list(pool.map(partial(_deliver, message, self.seconds), self.urls))


def _deliver(message: dict[str, str], seconds: float, url: str) -> str | None:
    """The reason of a failure, else None. A rejected message is sent once more in the remaining time."""
    until, addressed = time.monotonic() + seconds, {**message, "url": url}
    reason = _attempt(addressed, seconds)
    left = until - time.monotonic()
    if reason in (None, REASONS[Exit.UNUSABLE]) or left <= 0:
        return reason
    return _attempt(addressed, left)


def _attempt(message: dict[str, str], seconds: float) -> str | None:
    """One process; it is killed at the time limit."""
    command = [sys.executable, "-P", __file__]
    text, null = json.dumps(message).encode(), subprocess.DEVNULL
    try:
        process = subprocess.run(command, input=text, stdout=null, stderr=null, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "no answer within the time limit"
    except OSError as error:
        return f"its process did not start ({type(error).__name__})"
    if process.returncode == Exit.DELIVERED:
        return None
    return REASONS.get(process.returncode, f"its process failed ({process.returncode})")


def _name(url: str) -> str:
    """A channel without its secrets; a URL without a scheme may be nothing but a secret."""
    scheme = SCHEME.match(url)
    digest = hashlib.sha256(url.encode(errors="backslashreplace")).hexdigest()[:DIGITS]
    return f"{scheme[1] if scheme else 'unreadable'} channel {digest}"


def shortened(lines: Sequence[str], most: int = 10) -> str:
    """The first lines, cut to a length that channels accept, and the number of the others."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*(line[:LINE_CHARACTERS] for line in lines[:most]), *more])


@dataclass(frozen=True)
class AlertCursor:
    """The entries that were sent: all up to an id, and some `beyond` it.

    An id is assigned before its transaction commits, so an entry below the newest may appear later. The cursor passes an id
    only when no such transaction is left.
    """

    after: int
    beyond: frozenset[int] = frozenset()

    @classmethod
    def read(cls, cursor: str | None) -> "AlertCursor | None":
        """The cursor of a sensor; None where there is none yet."""
        if cursor is None:
            return None
        content = json.loads(cursor)
        return cls(content["after"], frozenset(content["beyond"]))

    @property
    def text(self) -> str:
        """The cursor as a sensor keeps it."""
        return json.dumps({"after": self.after, "beyond": sorted(self.beyond)})

    def advanced(self, ids: Sequence[int], settled: int, *, full: bool) -> "AlertCursor":
        """After these ids were sent, in ascending order, when no entry up to `settled` can still appear.

        `full`: the query returned as many as it may, so the cursor does not pass the last one.
        """
        after = max(self.after, min(settled, ids[-1]) if full else settled)
        return AlertCursor(after, frozenset(one for one in self.beyond | set(ids) if one > after))


def deliver(message: dict[str, str]) -> Exit:
    """Sends `title` and `body` to the channel `url`; without a title it only checks the address. Runs in its own process."""
    import apprise

    channel = apprise.Apprise()
    if not channel.add(message["url"]):
        return Exit.UNUSABLE
    if "title" not in message:
        return Exit.DELIVERED
    kind = apprise.NotifyType(message["kind"])
    accepted = channel.notify(body=message["body"], title=message["title"], notify_type=kind)
    return Exit.DELIVERED if accepted else Exit.REJECTED


if __name__ == "__main__":
    logging.disable()  # addresses hold secrets
    sys.exit(deliver(json.load(sys.stdin)))
