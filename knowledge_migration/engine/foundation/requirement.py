"""One requirement of a step that writes: what must be, what is observed, and how to get there."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import NOT_SO_FAR
from knowledge_migration.engine.foundation.errors import MigrationError


@dataclass(frozen=True)
class Requirement:
    """`message` is what was observed, `needed` what would satisfy it; an `essential` one cannot be overridden."""

    name: str
    met: bool
    message: str
    remedy: str = ""
    essential: bool = False
    needed: str = ""

    @property
    def sentence(self) -> str:
        """The requirement as text."""
        return f"{self.name}: {self.message}" + ("" if self.met else f" {self.remedy}".rstrip())

    def as_row(self) -> dict[str, str]:
        """A row of the table that a refusal shows."""
        return {
            "requirement": self.name,
            "state": "met" if self.met else "missing",
            "observed": self.message,
            "needed": self.needed,
            "how to get it": "" if self.met else self.remedy,
        }


def required(outcome: CheckOutcome, name: str | None = None, *, shown: int = 3) -> Requirement:
    """A rule as a requirement: its count and the first rows of its sample are what was observed."""
    message = "satisfied." if outcome.passed else f"{outcome.count:,} violations"
    if outcome.sample and not outcome.passed:
        rows = "; ".join(", ".join(f"{key} {value}" for key, value in row.items()) for row in outcome.sample[:shown])
        message = f"{message}: {rows}."
    return Requirement(
        name or outcome.name.replace("_", " "), outcome.passed, message, outcome.remedy, needed=outcome.description
    )


def read_requirement(name: str, needed: str, read: Callable[[], Requirement | str | None]) -> Requirement:
    """A requirement read now; text is what was observed. What cannot be read is missing, with the error's message."""
    try:
        observed = read()
    except (MigrationError, psycopg.Error, sa.exc.DBAPIError) as error:
        reason = getattr(error, "orig", None) or error  # what SQLAlchemy wraps
        if isinstance(reason, NOT_SO_FAR):
            return Requirement(name, False, "it does not exist yet.", "Run the phases before first.", needed=needed)
        return Requirement(name, False, _first_sentence(reason), _remedy(reason), needed=needed)
    if isinstance(observed, Requirement):
        return observed
    return Requirement(name, True, observed or "satisfied.", needed=needed)


def _first_sentence(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return first.partition(". ")[0].rstrip(".") + "."


def _remedy(error: Exception) -> str:
    return str(error).strip().replace("\n", " ").partition(". ")[2]
