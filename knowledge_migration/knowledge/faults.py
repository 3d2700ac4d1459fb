"""Faults on purpose, for demonstrations and drills: a share of the extractions of one mode fails for some seconds.

A service has them only if it was started to (`--allow-faults`). A fault comes before the extractor is asked, so nothing is
written; the run is recorded as failed, and everything that counts failures counts it.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.flags import Mode

WORDS = "Injected fault"


class InjectedFaultError(KnowledgeError):
    """The service was told to fail."""

    title = WORDS


@dataclass(frozen=True)
class Fault:
    """Which mode fails, how often, and until when (on the service's own clock)."""

    mode: Mode
    share: float
    until: float


@dataclass
class Faults:
    """The fault of one process, if it has one now; deterministic for a seed. It has state, so it is a class."""

    clock: Callable[[], float] = time.monotonic
    seed: int = 0
    fault: Fault | None = None
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def active(self) -> Fault | None:
        """The fault that is in force."""
        return self.fault if self.fault and self.clock() < self.fault.until else None

    @property
    def seconds_left(self) -> float:
        """How much longer the fault is in force; 0 without one."""
        return max(0.0, self.fault.until - self.clock()) if self.fault else 0.0

    def begin(self, mode: Mode, share: float, seconds: float) -> None:
        """From now on, instead of another one."""
        self.fault = Fault(mode, share, self.clock() + seconds)

    def end(self) -> None:
        """No fault any more."""
        self.fault = None

    def raise_perhaps(self, mode: Mode) -> None:
        """Raises `InjectedFaultError` for its share of the extractions of its mode."""
        fault = self.active
        if fault and fault.mode == mode and self._random.random() < fault.share:
            raise InjectedFaultError(f"{WORDS}: {fault.share:.0%} of the extractions in {mode} mode fail on purpose.")
