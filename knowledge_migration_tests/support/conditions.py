"""Waits for conditions instead of times."""

import asyncio
import time
from collections.abc import Callable

TIMEOUT_SECONDS = 30.0
"""For busy machines; normally nothing takes that long."""


async def becomes(condition: Callable[[], bool]) -> None:
    """Returns when the condition is true; raises `TimeoutError` if it never is."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def comes_true(condition: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    """The same without an event loop."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.05)
