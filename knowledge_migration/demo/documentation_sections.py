"""Topics, messages and their authors, made from the sections of Python's documentation: its modules and its chapters.

A section becomes a topic, each of its paragraphs a message of that topic. The sources state neither times nor authors:
times are counted from a fixed epoch, and the account that posts a paragraph is that of the top-level module it is from.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from knowledge_migration.demo.knowledge_base import Row
from knowledge_migration.demo.python_sources import Module

TOPIC_NAME_WIDTH = 100
USER_NAME_WIDTH = 100
DEFAULT_COLOR = "#64748B"

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_BETWEEN_SECTIONS = timedelta(minutes=1)
_BETWEEN_MESSAGES = timedelta(seconds=1)

_PARAGRAPH_END = re.compile(r"\n(?:[ \t]*\n)+")


@dataclass(frozen=True)
class Origin:
    """Where texts come from: a row of `sources`. `icon` is that of its topics."""

    id: int
    name: str
    icon: str


LIBRARY = Origin(1, "Python standard library", "CodeBracketIcon")
REFERENCE = Origin(2, "Python language reference", "BookOpenIcon")
ORIGINS = (LIBRARY, REFERENCE)


@dataclass(frozen=True)
class Section:
    """A module or a chapter. `key` is the same in every run, `moment` when it was read, `name` that of its topic."""

    key: str
    name: str
    text: str
    author: str
    origin: Origin
    moment: datetime

    def paragraphs(self) -> list[str]:
        """The parts of the text that blank lines separate."""
        return [part for part in _PARAGRAPH_END.split(self.text) if part.strip()]


def sections_of(modules: Sequence[Module], chapters: Mapping[str, str]) -> tuple[Section, ...]:
    """The modules, then the chapters of `pydoc_data.topics` by their keys; a chapter's name is its first line."""
    moments = _moments()
    return (
        *(_module_section(module, next(moments)) for module in modules),
        *(_chapter_section(key, chapters[key], next(moments)) for key in sorted(chapters)),
    )


def _module_section(module: Module, moment: datetime) -> Section:
    account = module.name.partition(".")[0]
    return Section(module.name, module.name, module.docstring, account, LIBRARY, moment)


def _chapter_section(key: str, text: str, moment: datetime) -> Section:
    title = next((line.strip() for line in text.splitlines() if line.strip()), key)
    return Section(f"pydoc:{key}", title, text, "pydoc_data", REFERENCE, moment)


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Ids from 1 in order; a name that repeats keeps its first id."""
    return {name: id for id, name in enumerate(dict.fromkeys(names), start=1)}


def topic_name(section: Section) -> str:
    """The section's name as wide as the column; sections of one name are one topic, as the legacy schema has it."""
    return section.name[:TOPIC_NAME_WIDTH]


def stored(text: str) -> str:
    """The text, but for the two things that PostgreSQL cannot store: NUL and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def source_rows() -> Iterator[Row]:
    """One row for each origin."""
    for origin in ORIGINS:
        yield {
            "id": origin.id,
            "name": origin.name,
            "type": "api",
            "config": {},
            "is_active": True,
            **timestamps(EPOCH),
        }


def user_rows(user_ids: Mapping[str, int]) -> Iterator[Row]:
    """The accounts that post: bots, since nobody is named."""
    for name, id in user_ids.items():
        yield {
            "id": id,
            "first_name": name[:USER_NAME_WIDTH],
            "is_active": True,
            "is_bot": True,
            **timestamps(EPOCH),
        }


def topic_rows(sections: Sequence[Section], topic_ids: Mapping[str, int]) -> Iterator[Row]:
    """The first section of each name."""
    first = {topic_name(section): section for section in reversed(sections)}
    for name, id in topic_ids.items():
        section = first[name]
        yield {
            "id": id,
            "name": name,
            "description": stored(section.text),
            "icon": section.origin.icon,
            "color": DEFAULT_COLOR,
            **timestamps(section.moment),
        }


def message_rows(
    sections: Sequence[Section], topic_ids: Mapping[str, int], user_ids: Mapping[str, int]
) -> Iterator[Row]:
    """A message for each paragraph; they count as analyzed, since each has a topic."""
    paragraphs = (
        (section, number, text) for section in sections for number, text in enumerate(section.paragraphs(), start=1)
    )
    for id, (section, number, text) in enumerate(paragraphs, start=1):
        sent_at = EPOCH + id * _BETWEEN_MESSAGES
        yield {
            "id": id,
            "external_message_id": f"{section.key}:{number}",
            "content": stored(text),
            "sent_at": sent_at.replace(tzinfo=None),  # the column has no zone; the application means UTC
            "source_id": section.origin.id,
            "author_id": user_ids[section.author],
            "analyzed": True,
            "topic_id": topic_ids[topic_name(section)],
            **timestamps(sent_at),
        }


def timestamps(moment: datetime) -> Row:
    """Both timestamps of a row that was never updated."""
    return {"created_at": moment, "updated_at": moment}


def _moments() -> Iterator[datetime]:
    moment = EPOCH
    while True:
        yield moment
        moment += _BETWEEN_SECTIONS
