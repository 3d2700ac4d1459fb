"""The demonstration knowledge base: the documentation that every Python ships, its dirt included.

Modules and the chapters of `pydoc` become topics, documented classes, functions and methods become atoms, paragraphs
become messages. Every text and every relation is Python's own; no confidence, embedding or duplicate is invented. The
same Python gives the same rows, ids and timestamps; another version gives others.
"""

import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pydoc_data.topics import topics as pydoc_chapters

from knowledge_migration.demo.documentation_atoms import atom_link_rows, atom_rows, documented_in, topic_atom_rows
from knowledge_migration.demo.documentation_sections import (
    message_rows,
    numbered,
    sections_of,
    source_rows,
    topic_name,
    topic_rows,
    user_rows,
)
from knowledge_migration.demo.knowledge_base import Row
from knowledge_migration.demo.python_names import names_of
from knowledge_migration.demo.python_sources import Module, read_modules
from knowledge_migration.engine.foundation.errors import MigrationError


class NoSourcesError(MigrationError):
    """This Python comes without the sources of its standard library."""


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@dataclass(frozen=True)
class PythonDocumentation:
    """The knowledge base of the running Python, or of the sources in the folder `library`.

    The sources are read when the first rows are asked for, in about 2 seconds, and kept.
    """

    library: Path = field(default_factory=_standard_library)

    def rows(self, table: str) -> Sequence[Row]:
        """The rows of one table; raises `NoSourcesError` when the folder holds no sources."""
        return self._tables[table]

    @cached_property
    def _tables(self) -> dict[str, tuple[Row, ...]]:
        modules = read_modules(self.library) if self.library.is_dir() else ()
        if not modules:
            raise NoSourcesError(
                f"{self.library} holds no Python sources, so there is no documentation to make a demonstration of. "
                "Use a Python that has them, or name your own database in KNOWLEDGE_MIGRATION_DATABASE_URL."
            )
        return _tables_of(modules)


def _tables_of(modules: Sequence[Module]) -> dict[str, tuple[Row, ...]]:
    sections = sections_of(modules, pydoc_chapters)
    by_key = {section.key: section for section in sections}
    topic_ids = numbered(topic_name(section) for section in sections)
    user_ids = numbered(section.author for section in sections if section.paragraphs())
    documented, names = documented_in(modules), names_of(modules)
    return {
        "users": tuple(user_rows(user_ids)),
        "sources": tuple(source_rows()),
        "topics": tuple(topic_rows(sections, topic_ids)),
        "messages": tuple(message_rows(sections, topic_ids, user_ids)),
        "atoms": tuple(atom_rows(documented, names, by_key)),
        "topic_atoms": tuple(topic_atom_rows(documented, names, by_key, topic_ids)),
        "atom_links": tuple(atom_link_rows(documented, names, by_key)),
    }
