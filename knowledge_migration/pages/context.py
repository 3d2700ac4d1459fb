"""What every page is made with."""

from dataclasses import dataclass

from knowledge_migration.knowledge.service import KnowledgeService


@dataclass(frozen=True)
class Place:
    """A page's address and title in the header."""

    path: str
    title: str


@dataclass(frozen=True)
class Context:
    """The service, and the places that there are."""

    service: KnowledgeService
    places: tuple[Place, ...]
    assets: str
