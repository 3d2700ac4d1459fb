"""The demonstration knowledge base: the documentation that every Python ships, its dirt included.

Modules and the chapters of `pydoc` become topics, documented classes, functions and methods become atoms, paragraphs
become messages. Every text and every relation is Python's own; no confidence, embedding or duplicate is invented. The
same Python gives the same rows, ids and timestamps; another version gives others.
"""

import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from pydoc_data.topics import topics as pydoc_chapters
from typing import Any

from knowledge_migration.demo.python_sources import Definition, Sources, read_sources
from knowledge_migration.engine.foundation.errors import MigrationError

Row = Mapping[str, Any]

TOPIC_NAME_WIDTH, USER_NAME_WIDTH, ATOM_TITLE_WIDTH = 100, 100, 200
COLOR = "#64748B"
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)  # the sources state no times: a section a minute, a message a second
DEFINED, OFFERED, NAMED = "defined in the module", "imported by its package", "named in the chapter"

_PREDICATE_NAME = re.compile(r"_*(is|has)_")
_PREDICATE_TEXT = re.compile(r"((returns? )?`*(true|whether)|(test|check)s? (if|whether))\b", re.IGNORECASE)
_REQUIREMENT = re.compile(r"\b(must|required|requires)\b", re.IGNORECASE)
_DECISION = re.compile(r"\b(deprecated|defaults?)\b", re.IGNORECASE)


class NoSourcesError(MigrationError):
    """This Python comes without the sources of its standard library."""


@dataclass(frozen=True)
class Section:
    """A module or a chapter of the documentation. `key` is the same in every run; `topic` is the name of its topic."""

    key: str
    topic: str
    text: str
    author: str
    source_id: int
    icon: str
    moment: datetime


@dataclass(frozen=True)
class PythonDocumentation:
    """The knowledge base of the running Python, or of the sources in the folder `library`.

    The sources are read when the first rows are asked for, in about 2 seconds, and kept.
    """

    library: Path = field(default_factory=lambda: Path(sysconfig.get_path("stdlib")))

    def rows(self, table: str) -> Sequence[Row]:
        """The rows of one table; raises `NoSourcesError` when the folder holds no sources."""
        return self._tables[table]

    @cached_property
    def _tables(self) -> dict[str, tuple[Row, ...]]:
        sources = read_sources(self.library)
        if not sources.modules:
            raise NoSourcesError(
                f"{self.library} holds no Python sources, so there is no documentation to make a demonstration of. "
                "Use a Python that has them, or name your own database in KNOWLEDGE_MIGRATION_DATABASE_URL."
            )
        rows = _Rows(sources)
        tables = (rows.users, rows.sources, rows.topics, rows.messages, rows.atoms, rows.topic_atoms, rows.atom_links)
        return {table.__name__: tuple(table()) for table in tables}


class _Rows:
    """Each method gives the rows of its table. The atoms are the documented definitions; a repeated name leads to the first."""

    def __init__(self, library: Sources) -> None:
        self.library = library
        self.sections = {section.key: section for section in _sections(library)}
        authors = (section.author for section in self.sections.values() if section.text.strip())
        self.topic_ids = dict(zip(dict.fromkeys(each.topic for each in self.sections.values()), count(1), strict=False))
        self.user_ids = dict(zip(dict.fromkeys(authors), count(1), strict=False))
        entries = (entry for module in library.modules.values() for entry in module.definitions if entry.docstring)
        self.documented = dict(enumerate(entries, start=1))
        self.atom_ids = {entry.name: id for id, entry in reversed(self.documented.items())}

    def users(self) -> Iterator[Row]:
        """The accounts that post, one for each top-level module: bots, because the sources name nobody."""
        for name, id in self.user_ids.items():
            yield {"id": id, "first_name": name[:USER_NAME_WIDTH], "is_active": True, "is_bot": True, **_at(EPOCH)}

    def sources(self) -> Iterator[Row]:
        """The library and the language reference."""
        for id, name in enumerate(("Python standard library", "Python language reference"), start=1):
            yield {"id": id, "name": name, "type": "api", "config": {}, "is_active": True, **_at(EPOCH)}

    def topics(self) -> Iterator[Row]:
        """The first section of each name."""
        first = {section.topic: section for section in reversed(self.sections.values())}
        for name, id in self.topic_ids.items():
            values = {"description": _storable(first[name].text), "icon": first[name].icon, "color": COLOR}
            yield {"id": id, "name": name, **values, **_at(first[name].moment)}

    def messages(self) -> Iterator[Row]:
        """A message for each paragraph; they count as analyzed because each has a topic."""
        ids = count(1)
        for section in self.sections.values():
            paragraphs = (part for part in re.split(r"\n(?:[ \t]*\n)+", section.text) if part.strip())
            for number, text in enumerate(paragraphs, start=1):
                sent_at = EPOCH + (id := next(ids)) * timedelta(seconds=1)
                yield {
                    "id": id,
                    "external_message_id": f"{section.key}:{number}",
                    "content": _storable(text),
                    "sent_at": sent_at.replace(tzinfo=None),  # the column has no zone; the application means UTC
                    "source_id": section.source_id,
                    "author_id": self.user_ids[section.author],
                    "analyzed": True,
                    "topic_id": self.topic_ids[section.topic],
                    **_at(sent_at),
                }

    def atoms(self) -> Iterator[Row]:
        """One atom for each documented definition: its qualified name, and its signature above its docstring."""
        for id, entry in self.documented.items():
            yield {
                "id": id,
                "type": _type_of(entry, is_exception=self.library.is_exception(entry)),
                "title": entry.name[:ATOM_TITLE_WIDTH],
                "content": _storable(f"{entry.signature}\n\n{entry.docstring}"),
                "confidence": None,
                "user_approved": False,
                "meta": {"source": "python_documentation", "module": entry.module, "line": entry.line},
                "embedding": None,
                **_at(self.sections[entry.module].moment),
            }

    def topic_atoms(self) -> Iterator[Row]:
        """The atoms of each topic, each pair once, with the first reason as its note and its place in the topic."""
        places: dict[str, dict[int, int]] = {}
        for section, atom_id, note in self._memberships():
            place = places.setdefault(section.topic, {})
            if atom_id not in place:
                place[atom_id] = len(place) + 1
                key = {"topic_id": self.topic_ids[section.topic], "atom_id": atom_id}
                yield {**key, "position": place[atom_id], "note": note, **_at(section.moment)}

    def _memberships(self) -> Iterator[tuple[Section, int, str]]:
        for id, entry in self.documented.items():
            yield self.sections[entry.module], id, DEFINED
        for key, section in self.sections.items():
            module = self.library.modules.get(key)
            entries = self.library.offered_by(module) if module else self.library.mentioned_in(section.text)
            for entry in (each for each in entries if each.name in self.atom_ids):
                yield section, self.atom_ids[entry.name], OFFERED if module else NAMED

    def atom_links(self) -> Iterator[Row]:
        """The links between atoms, each pair once; the first relation gives the type."""
        for id, entry in self.documented.items():
            links: dict[int, str] = {}
            for other, link_type in self._relations(entry):
                links.setdefault(self.atom_ids.get(other.name, id), link_type)
            for target, link_type in links.items():
                if target != id:
                    key = {"from_atom_id": id, "to_atom_id": target, "link_type": link_type, "strength": None}
                    yield {**key, **_at(self.sections[entry.module].moment)}

    def _relations(self, entry: Definition) -> Iterator[tuple[Definition, str]]:
        """The relations that the sources state, strongest first: base classes, raised exceptions, names in the docstring."""
        parents = (self.library.resolve(f"{entry.module}.{base}") for base in entry.bases)
        errors = (self.library.resolve(f"{entry.module}.{raised}") for raised in entry.raises)
        yield from ((parent, "refines") for parent in parents if parent)
        yield from ((error, "depends_on") for error in errors if error and self.library.is_exception(error))
        yield from ((named, "relates_to") for named in self.library.mentioned_in(entry.docstring, entry.name))


def _type_of(entry: Definition, *, is_exception: bool) -> str:
    """The type of the atom that a definition becomes: that of the first condition that is true."""
    is_class, short_name = entry.kind == "class", entry.name.rpartition(".")[2]
    is_predicate = _PREDICATE_NAME.match(short_name) or _PREDICATE_TEXT.match(entry.docstring)
    conditions = (
        ("problem", is_exception),
        ("question", is_predicate and not is_class),
        ("pattern", is_class),
        ("requirement", _REQUIREMENT.search(entry.docstring)),
        ("decision", _DECISION.search(entry.docstring)),
        ("solution", entry.kind == "function"),
    )
    return next((type for type, is_true in conditions if is_true), "insight")


def _sections(sources: Sources) -> Iterator[Section]:
    """The modules, then the chapters of `pydoc_data.topics` by their keys; a chapter's name is its first line."""
    moments = (EPOCH + number * timedelta(minutes=1) for number in count())
    for name, module in sources.modules.items():
        account = name.partition(".")[0]
        yield Section(name, name[:TOPIC_NAME_WIDTH], module.docstring, account, 1, "CodeBracketIcon", next(moments))
    for key, text in sorted(pydoc_chapters.items()):
        title = next((line.strip() for line in text.splitlines() if line.strip()), key)[:TOPIC_NAME_WIDTH]
        yield Section(f"pydoc:{key}", title, text, "pydoc_data", 2, "BookOpenIcon", next(moments))


def _storable(text: str) -> str:
    """The text without the two things that PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _at(moment: datetime) -> Row:
    """Both timestamps of a row that was never updated."""
    return {"created_at": moment, "updated_at": moment}
