"""Rows that cannot be written in a batch: one by one, again and again as long as that helps, and then named."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from knowledge_migration.engine.rollback.repair.compared_tables import ComparedTable
from knowledge_migration.engine.rollback.repair.comparison import Key
from knowledge_migration.engine.rollback.repair.saved_rows import SavedRow

Waiting = list[tuple[ComparedTable, SavedRow]]


@dataclass(frozen=True)
class RefusedRow:
    """A row that the database does not take, with its words: another row has its unique value, or its parent is gone."""

    table: str
    key: Key
    reason: str


def one_by_one(
    waiting: Sequence[tuple[ComparedTable, SavedRow]], write: Callable[[ComparedTable, SavedRow], str | None]
) -> list[RefusedRow]:
    """Writes each row; returns those that stay refused. `write` returns the reason, or None when the row is written.

    A row may be refused until its parent is back, or until another row has given up its unique value.
    """
    while waiting:
        refused = [(table, row, reason) for table, row in waiting if (reason := write(table, row))]
        if len(refused) == len(waiting):
            return [RefusedRow(table.label, row.key, reason) for table, row, reason in refused]
        waiting = [(table, row) for table, row, _ in refused]
    return []
