"""Atoms, made from the documented classes, functions and methods of Python's standard library, and their relations.

Every relation is one that the sources state: where a thing is defined, offered or named, what a class descends from,
what a function raises, what a docstring names. A relation to something undocumented has no atom to lead to: left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from knowledge_migration.demo.atom_types import type_of
from knowledge_migration.demo.documentation_sections import Section, stored, timestamps, topic_name
from knowledge_migration.demo.knowledge_base import Row
from knowledge_migration.demo.python_names import Names
from knowledge_migration.demo.python_sources import Definition, Module

ATOM_TITLE_WIDTH = 200

DEFINED = "defined in the module"
OFFERED = "imported by its package"
NAMED = "named in the chapter"


@dataclass(frozen=True)
class Documented:
    """The definitions that have a docstring, with the ids of their atoms: their order, from 1."""

    definitions: tuple[Definition, ...]
    ids: Mapping[str, int]

    def numbered(self) -> Iterator[tuple[int, Definition]]:
        """Each atom's id and definition; a name that is defined twice is two atoms."""
        return enumerate(self.definitions, start=1)


def documented_in(modules: Sequence[Module]) -> Documented:
    """The documented definitions in the order of modules and lines; a name leads to the first that has it."""
    definitions = tuple(entry for module in modules for entry in module.definitions if entry.docstring)
    ids = {entry.name: id for id, entry in reversed(list(enumerate(definitions, start=1)))}
    return Documented(definitions, ids)


def atom_rows(documented: Documented, names: Names, sections: Mapping[str, Section]) -> Iterator[Row]:
    """One atom for each documented definition: its qualified name, and its signature above its docstring."""
    for id, entry in documented.numbered():
        yield {
            "id": id,
            "type": type_of(entry, is_exception=names.is_exception(entry)),
            "title": entry.name[:ATOM_TITLE_WIDTH],
            "content": stored(f"{entry.signature}\n\n{entry.docstring}"),
            "confidence": None,
            "user_approved": False,
            "meta": {"source": "python_documentation", "module": entry.module, "line": entry.line},
            "embedding": None,
            **timestamps(sections[entry.module].moment),
        }


def topic_atom_rows(
    documented: Documented, names: Names, sections: Mapping[str, Section], topic_ids: Mapping[str, int]
) -> Iterator[Row]:
    """Which atoms a topic holds, each pair once, with the first reason as its note and its place in the topic."""
    places: dict[str, int] = {}
    seen: set[tuple[str, int]] = set()
    for key, atom_id, note in _memberships(documented, names, sections):
        topic = topic_name(sections[key])
        if (topic, atom_id) in seen:
            continue
        seen.add((topic, atom_id))
        places[topic] = places.get(topic, 0) + 1
        yield {
            "topic_id": topic_ids[topic],
            "atom_id": atom_id,
            "position": places[topic],
            "note": note,
            **timestamps(sections[key].moment),
        }


def _memberships(
    documented: Documented, names: Names, sections: Mapping[str, Section]
) -> Iterator[tuple[str, int, str]]:
    """Section key, atom id and reason of each membership."""
    for id, entry in documented.numbered():
        yield entry.module, id, DEFINED
    for key, section in sections.items():
        module = names.modules.get(key)
        found, note = (_offered(module, names), OFFERED) if module else (names.named_in(section.text), NAMED)
        for entry in found:
            if entry.name in documented.ids:
                yield key, documented.ids[entry.name], note


def _offered(module: Module, names: Names) -> Iterator[Definition]:
    """What a package imports from its own modules, so that its users import it from the package."""
    for target in module.imports.values() if module.is_package else ():
        found = names.absolute(target) if target.startswith(f"{module.name}.") else None
        if found:
            yield found


def atom_link_rows(documented: Documented, names: Names, sections: Mapping[str, Section]) -> Iterator[Row]:
    """The links between atoms, each pair once: the strongest statement, in the order of `_relations`, gives the type."""
    for id, entry in documented.numbered():
        links: dict[int, str] = {}
        for found, link_type in _relations(entry, names):
            target = documented.ids.get(found.name, id)
            if target != id:
                links.setdefault(target, link_type)
        for target, link_type in links.items():
            yield {
                "from_atom_id": id,
                "to_atom_id": target,
                "link_type": link_type,
                "strength": None,
                **timestamps(sections[entry.module].moment),
            }


def _relations(entry: Definition, names: Names) -> Iterator[tuple[Definition, str]]:
    for base in entry.bases:
        if found := names.in_code(entry.module, base):
            yield found, "refines"
    for raised in entry.raises:
        found = names.in_code(entry.module, raised)
        if found and names.is_exception(found):
            yield found, "depends_on"
    for found in names.mentioned_in(entry):
        yield found, "relates_to"
