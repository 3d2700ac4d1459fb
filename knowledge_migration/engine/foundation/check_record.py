"""The latest recorded evaluation of an asset check, as criteria, promotions, pages and reports read it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

CheckResult = Literal["failed", "not completed", "warned", "passed"]

CHECK_RESULTS: tuple[CheckResult, ...] = ("failed", "not completed", "warned", "passed")
"""The most severe first."""


@dataclass(frozen=True)
class CheckRecord:
    """One check: `succeeded` only if it ran to its end and passed; `at` is None if it never ran.

    `ended` is false where it was only planned or was interrupted; `warns` is true where a failure is only a warning.
    """

    name: str
    succeeded: bool
    at: datetime | None
    message: str = ""
    ended: bool = True
    warns: bool = False
    asset: str = ""

    @property
    def result(self) -> CheckResult:
        """The result in one word."""
        if not self.ended:
            return "not completed"
        return "passed" if self.succeeded else "warned" if self.warns else "failed"
