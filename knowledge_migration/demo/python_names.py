"""Finds the definition that a name stands for, in the code of a module or in the text of a docstring.

Follows imports, star imports and re-exports as Python would, within the modules that were read. A name that does not
lead to a definition there (a C function, a variable) leads to None: nothing is guessed from spelling.
"""

import builtins
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from knowledge_migration.demo.python_sources import Definition, Module

# A re-export of a re-export of ... : the longest chain in the standard library has three links.
LONGEST_CHAIN = 6

_MENTION = re.compile(r"(?<![\w.])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(\))?")
_BUILTIN_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)


@dataclass(frozen=True)
class Names:
    """The modules, and the first definition of each qualified name."""

    modules: Mapping[str, Module]
    definitions: Mapping[str, Definition]
    _found: dict[str, Definition | None] = field(default_factory=dict, repr=False, compare=False)

    def absolute(self, name: str) -> Definition | None:
        """The definition of a qualified name, through whatever module re-exports it."""
        if name not in self._found:
            self._found[name] = self._follow(name, LONGEST_CHAIN)
        return self._found[name]

    def in_code(self, module: str, name: str) -> Definition | None:
        """The definition that a name stands for in the code of a module."""
        return self.absolute(f"{module}.{name}")

    def mentioned_in(self, definition: Definition) -> Iterator[Definition]:
        """The other definitions that a docstring names, as `name()` or with a dot, in their order."""
        scopes = _scopes(definition)
        for name in mentions(definition.docstring):
            found = self._nearest(name, scopes)
            if found and found.name != definition.name:
                yield found

    def named_in(self, text: str) -> Iterator[Definition]:
        """The definitions that a text outside every module names by their qualified names, in their order."""
        for name in mentions(text):
            found = self.absolute(name) if "." in name else None
            if found:
                yield found

    def is_exception(self, definition: Definition, generations: int = 20) -> bool:
        """True when a class descends from a built-in exception."""
        if not generations:
            return False
        for base in definition.bases:
            parent = self.in_code(definition.module, base)
            if self.is_exception(parent, generations - 1) if parent else base in _BUILTIN_EXCEPTIONS:
                return True
        return False

    def _nearest(self, name: str, scopes: Sequence[str]) -> Definition | None:
        candidates = (self.absolute(f"{scope}.{name}") for scope in scopes)
        return next((found for found in candidates if found), None) or self.absolute(name)

    def _follow(self, name: str, links: int) -> Definition | None:
        if found := self.definitions.get(name):
            return found
        module, rest = self._split(name)
        if module is None or not links:
            return None
        first, dot, remainder = rest.partition(".")
        if imported := module.imports.get(first):
            return self._follow(f"{imported}{dot}{remainder}", links - 1)
        starred = (self._follow(f"{star}.{rest}", links - 1) for star in module.stars)
        return next((found for found in starred if found), None)

    def _split(self, name: str) -> tuple[Module | None, str]:
        """The module that a qualified name begins with (the longest), and the rest of the name."""
        parts = name.split(".")
        for length in range(len(parts) - 1, 0, -1):
            if module := self.modules.get(".".join(parts[:length])):
                return module, ".".join(parts[length:])
        return None, name


def names_of(modules: Sequence[Module]) -> Names:
    """The names of all modules; of two definitions of one name the first is meant."""
    definitions: dict[str, Definition] = {}
    for module in modules:
        for definition in module.definitions:
            definitions.setdefault(definition.name, definition)
    return Names({module.name: module for module in modules}, definitions)


def mentions(text: str) -> list[str]:
    """The names that a text marks as code: followed by `()`, or with a dot inside; each once, in their order."""
    found = (match.groups() for match in _MENTION.finditer(text))
    return list(dict.fromkeys(name for name, call in found if call or "." in name))


def _scopes(definition: Definition) -> list[str]:
    """Where a docstring's reader looks first: in the definition itself, in its class, in its module."""
    scopes = [definition.name]
    while scopes[-1] != definition.module:
        scopes.append(scopes[-1].rpartition(".")[0])
    return scopes
