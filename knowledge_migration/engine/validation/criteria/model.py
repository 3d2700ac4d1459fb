"""What a criterion is, and what can be said of it. Nothing holds for lack of data: then it is `not shown`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from knowledge_migration.engine.validation.criteria.facts import Facts

Verdict = Literal["holds", "fails", "not shown", "for a person"]


@dataclass(frozen=True)
class Judgement:
    """The verdict, in words with its figures, what it was read from, and when that was measured (None: just now)."""

    verdict: Verdict
    words: str
    source: str
    at: datetime | None = None


Judge = Callable[["Facts"], Judgement]


@dataclass(frozen=True)
class Criterion:
    """One checkbox: `key` names it in commands, `section` is where the strategy has it, `text` what it says there."""

    key: str
    section: str
    text: str
    judge: Judge


@dataclass(frozen=True)
class Judged:
    """A criterion with what was found."""

    criterion: Criterion
    judgement: Judgement

    def as_row(self) -> dict[str, Any]:
        """For a table, a report, the evidence."""
        found = self.judgement
        return {
            "section": self.criterion.section,
            "criterion": self.criterion.text,
            "verdict": found.verdict,
            "evidence": found.words,
            "from": found.source,
            "measured": f"{found.at:%Y-%m-%d %H:%M} UTC" if found.at else "now",
            "name": self.criterion.key,
        }
