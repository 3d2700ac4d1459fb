"""What a check has to say: whether its rule holds, how many rows or objects break it, which, and what to do."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CheckOutcome:
    """The result of one rule. `count` is exact; `sample` comes from the same query, so it always explains the count."""

    name: str
    count: int
    sample: tuple[dict[str, Any], ...]
    description: str
    remedy: str
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True when nothing breaks the rule."""
        return self.count == 0

    @property
    def sentence(self) -> str:
        """The result in plain words."""
        if self.passed:
            return f"{self.description} Holds."
        return f"{self.description} Broken by {self.count}. {self.remedy}"
