"""Injected faults for demonstrations and drills: a share of the extractions of one mode fails for some seconds.

Only a service started with `--allow-faults` has them. A fault is raised before extraction; the run is recorded as failed.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.flags import Mode

TITLE = "Injected fault"


class InjectedFaultError(KnowledgeError):
    """An injected fault."""

    title = TITLE


@dataclass(frozen=True)
class Fault:
    """The mode that fails, the share of failures, and the end on the service's clock."""

    mode: Mode
    share: float
    until: float


@dataclass
class Faults:
    """The fault of one process, if any; deterministic for a seed."""

    clock: Callable[[], float] = time.monotonic
    seed: int = 0
    fault: Fault | None = None
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def active(self) -> Fault | None:
        """The present fault."""
        return self.fault if self.fault and self.clock() < self.fault.until else None

    @property
    def seconds_left(self) -> float:
        """How much longer the fault is in force; 0 without one."""
        return max(0.0, self.fault.until - self.clock()) if self.fault else 0.0

    def begin(self, mode: Mode, share: float, seconds: float) -> None:
        """Starts a fault, instead of the present one."""
        self.fault = Fault(mode, share, self.clock() + seconds)

    def end(self) -> None:
        """Ends the fault."""
        self.fault = None

    def raise_perhaps(self, mode: Mode) -> None:
        """Raises `InjectedFaultError` for its share of the extractions of its mode."""
        fault = self.active
        if fault and fault.mode == mode and self._random.random() < fault.share:
            raise InjectedFaultError(f"{TITLE}: {fault.share:.0%} of the extractions in {mode} mode fail on purpose.")
