"""What a knowledge base is to the loader: rows for each legacy table, parents before those that refer to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

TABLES: tuple[str, ...] = ("users", "sources", "topics", "messages", "atoms", "topic_atoms", "atom_links")

Row = Mapping[str, Any]


class RowSource(Protocol):
    """Whatever has rows for the tables. A column that a row does not name gets the table's default."""

    def rows(self, table: str) -> Iterable[Row]:
        """The rows of one of `TABLES`, in the order in which they are to be stored."""
        ...


@dataclass(frozen=True)
class KnowledgeBase:
    """A knowledge base in memory: the rows of each table."""

    users: Iterable[Row] = ()
    sources: Iterable[Row] = ()
    topics: Iterable[Row] = ()
    messages: Iterable[Row] = ()
    atoms: Iterable[Row] = ()
    topic_atoms: Iterable[Row] = ()
    atom_links: Iterable[Row] = ()

    def rows(self, table: str) -> Iterable[Row]:
        """The rows of one of `TABLES`."""
        rows: Iterable[Row] = getattr(self, table)
        return rows
