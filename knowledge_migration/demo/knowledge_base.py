"""What a knowledge base is to the loader: rows for each legacy table, parents before those that refer to them."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

TABLES: tuple[str, ...] = ("users", "sources", "topics", "messages", "atoms", "topic_atoms", "atom_links")

Row = Mapping[str, Any]


class KnowledgeBase(Protocol):
    """A source of rows. A column that a row does not name gets the table's default."""

    def rows(self, table: str) -> Iterable[Row]:
        """The rows of one of `TABLES`, in the order in which they are to be stored."""
        ...
