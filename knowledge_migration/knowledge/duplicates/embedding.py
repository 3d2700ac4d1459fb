"""Where vectors come from. There is no default: a candidate's vector must be made by the very model that made the
stored ones (the application's have 1536 dimensions), or its distances mean nothing.
"""

from collections.abc import Sequence
from typing import Protocol


class Embedder(Protocol):
    """Turns texts into vectors, always the same for the same text."""

    @property
    def dimensions(self) -> int:
        """The length of every vector; it must be that of `atoms.embedding`."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector for each text, in their order."""
        ...


def text_of_atom(title: str, content: str) -> str:
    """The text whose embedding the application stores with an atom."""
    return f"{title}\n\n{content}"
