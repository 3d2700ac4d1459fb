"""Tells people, through any channel that apprise knows by its URL: mail, chat, pager, a webhook (strategy §4.2, §6.4).

A channel that hangs holds nobody up, and one that fails stops neither the others nor the caller: what could not be delivered
is returned, and nothing is raised. URLs hold secrets, so a channel is only ever called by its scheme and a short digest.
"""

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from knowledge_migration.engine.errors import MigrationError

CHANNEL_SECONDS = 10.0
ATTEMPTS = 2
DIGITS = 6

Kind = Literal["info", "success", "warning", "failure"]

log = logging.getLogger(__name__)


class AlertChannelError(MigrationError):
    """A channel's URL cannot be used."""


@dataclass(frozen=True)
class Undelivered:
    """A channel that did not take an alert, and why as far as it can be told."""

    channel: str
    reason: str


@dataclass(frozen=True)
class Alerts:
    """The channels that the settings name."""

    urls: tuple[str, ...] = field(repr=False, default=())
    seconds: float = CHANNEL_SECONDS

    @property
    def configured(self) -> bool:
        """Whether there is any channel."""
        return bool(self.urls)

    def refuse_unusable(self) -> None:
        """Raises `AlertChannelError` naming the place of each URL that apprise cannot use, never its content."""
        import apprise

        wrong = [place for place, url in enumerate(self.urls, start=1) if not apprise.Apprise().add(url)]
        if wrong:
            raise AlertChannelError(
                f"KNOWLEDGE_MIGRATION_ALERT_URLS holds no usable address at place {', '.join(map(str, wrong))}. See the "
                "notation of apprise for each channel, for example mailtos://user:password@example.com."
            )

    def send(self, title: str, body: str, *, kind: Kind = "warning") -> list[Undelivered]:
        """Tells every channel at once, each within its time; returns those that did not take it."""
        failures: list[Undelivered] = []
        threads = [
            threading.Thread(target=_deliver, args=(url, title, body, kind, self.seconds, failures), daemon=True)
            for url in self.urls
        ]
        for thread in threads:
            thread.start()
        for thread, url in zip(threads, self.urls, strict=True):
            thread.join(ATTEMPTS * self.seconds)
            if thread.is_alive():
                failures.append(Undelivered(_called(url), f"no answer within {ATTEMPTS * self.seconds:g} s"))
        for failure in failures:
            log.warning("The alert %r did not reach %s: %s", title, failure.channel, failure.reason)
        return failures


def _deliver(url: str, title: str, body: str, kind: Kind, seconds: float, failures: list[Undelivered]) -> None:
    import apprise

    try:
        channel = apprise.Apprise()
        if not channel.add(url):
            failures.append(Undelivered(_called(url), "its address cannot be used"))
            return
        for _ in range(ATTEMPTS):
            if channel.notify(body=body, title=title, notify_type=apprise.NotifyType(kind), timeout=seconds):
                return
        failures.append(Undelivered(_called(url), "it refused the message"))
    except Exception as error:  # whatever a channel does, nobody else may suffer from it
        failures.append(Undelivered(_called(url), type(error).__name__))


def _called(url: str) -> str:
    """A channel without its secrets."""
    digest = hashlib.sha256(url.encode()).hexdigest()[:DIGITS]
    return f"{url.partition('://')[0]} channel {digest}"


def shortened(lines: Sequence[str], most: int = 10) -> str:
    """The first lines, and how many there are more."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
