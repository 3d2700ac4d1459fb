"""The result of a check: whether the rule is satisfied, how many rows violate it, a sample of them, and the remedy."""

from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement


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
        """True when nothing violates the rule."""
        return self.count == 0

    @property
    def sentence(self) -> str:
        """The result as text."""
        if self.passed:
            return f"{self.description} The rule is satisfied."
        violations = "1 row violates" if self.count == 1 else f"{self.count:,} rows violate"
        return f"{violations} the rule: {self.description} {self.remedy}"


def count_and_sample(
    connection: Connection, query: sql.Composable, parameters: dict[str, object], sample: int
) -> tuple[int, tuple[dict[str, object], ...]]:
    """The exact number of rows that `query` returns and the first of them, from one execution."""
    wrapped = statement("foundation/count_and_sample", rule=query, sample=sql.Placeholder("sample"))
    rows = connection.execute(wrapped, {**parameters, "sample": sample}).fetchall()
    total = int(rows[0]["offending_rows"]) if rows else 0
    shown = rows[:sample]
    return total, tuple({key: value for key, value in row.items() if key != "offending_rows"} for row in shown)
