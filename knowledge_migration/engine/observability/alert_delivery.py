"""Brings one message to one channel, as a process of its own: a channel that hangs is killed, and what apprise logs dies with it.

Reads `{"url", "title", "body", "kind"}` as JSON from standard input; without a title it only says whether the address can be
used. Writes nothing. It imports nothing of this project, so that it starts at once wherever it is run from.
"""

import json
import logging
import sys
from enum import IntEnum


class Ending(IntEnum):
    """The exit codes; 1 is what Python itself ends with when something breaks."""

    DELIVERED = 0
    BROKEN = 1
    UNUSABLE = 3
    REFUSED = 4


def deliver(message: dict[str, str]) -> Ending:
    """Tells the channel, or only looks at its address."""
    import apprise

    channel = apprise.Apprise()
    if not channel.add(message["url"]):
        return Ending.UNUSABLE
    if "title" not in message:
        return Ending.DELIVERED
    kind = apprise.NotifyType(message["kind"])
    told = channel.notify(body=message["body"], title=message["title"], notify_type=kind)
    return Ending.DELIVERED if told else Ending.REFUSED


if __name__ == "__main__":
    logging.disable()  # addresses hold secrets
    sys.exit(deliver(json.load(sys.stdin)))
