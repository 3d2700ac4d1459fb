"""The one table that says which of the seven types an atom made from Python's documentation has.

The rules are asked in order, the first that holds decides, the last always holds. They read kinds, names and words only.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from knowledge_migration.demo.python_sources import Definition

_PREDICATE_NAME = re.compile(r"_*(is|has)_")
_PREDICATE_TEXT = re.compile(r"((returns? )?`*(true|whether)|(test|check)s? (if|whether))\b", re.IGNORECASE)
_REQUIREMENT = re.compile(r"\b(must|required|requires)\b", re.IGNORECASE)
_DECISION = re.compile(r"\b(deprecated|defaults?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Subject:
    """What a rule looks at."""

    definition: Definition
    is_exception: bool

    @property
    def is_class(self) -> bool:
        """True for a class, exceptions included."""
        return self.definition.kind == "class"

    def says(self, words: re.Pattern[str]) -> bool:
        """True when the docstring holds the words."""
        return words.search(self.definition.docstring) is not None


@dataclass(frozen=True)
class Rule:
    """Atoms of which `holds` is true have the type; `reason` says why that is fitting."""

    type: str
    reason: str
    holds: Callable[[Subject], bool]


def _is_predicate(subject: Subject) -> bool:
    if subject.is_class:
        return False
    named = _PREDICATE_NAME.match(subject.definition.short_name)
    return bool(named or _PREDICATE_TEXT.match(subject.definition.docstring))


RULES: tuple[Rule, ...] = (
    Rule("problem", "an exception is what can go wrong", lambda subject: subject.is_exception),
    Rule("question", "a predicate answers yes or no", _is_predicate),
    Rule("pattern", "a class is a shape to build with", lambda subject: subject.is_class),
    Rule("requirement", "the text says what must be", lambda subject: subject.says(_REQUIREMENT)),
    Rule("decision", "the text says what was chosen or given up", lambda subject: subject.says(_DECISION)),
    Rule("solution", "a function does something", lambda subject: subject.definition.kind == "function"),
    Rule("insight", "a method says how its objects behave", lambda subject: True),
)


def type_of(definition: Definition, *, is_exception: bool) -> str:
    """The type of the atom that a definition becomes."""
    subject = Subject(definition, is_exception)
    return next(rule.type for rule in RULES if rule.holds(subject))
