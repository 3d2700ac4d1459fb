"""The differences between a proposal and the similar existing row, value by value and word by word.

Joined without the removed parts they are the proposal's text, without the added parts the row's, character by character.
A word is what is between white space, so no character that a reader sees as one is split.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from sqlalchemy.dialects.postgresql import JSONB

from knowledge_migration.knowledge.entity_kinds import EntityKind

How = Literal["same", "removed", "added"]
Pieces = Iterator[tuple[How, str]]
Word = tuple[str, str]

LONGEST_COMPARED = 20_000
MOST_MATCHES = 100_000
"""Pairs of equal words of the two texts: 87,000 took 24 ms; a single word written 1,500 times has 2,250,000."""


@dataclass(frozen=True)
class Part:
    """A piece of text: in both, only in the existing row (removed), or only in the proposal (added)."""

    how: How
    text: str


@dataclass(frozen=True)
class FieldDifference:
    """One value of the two; NULL and an empty text are not the same, though they read the same."""

    field: str
    proposed: Any
    existing: Any
    same: bool
    parts: tuple[Part, ...]


def differences(
    kind: EntityKind, proposed: Mapping[str, Any], existing: Mapping[str, Any]
) -> tuple[FieldDifference, ...]:
    """Each value that the two have in common, but for the confidence: it says nothing about what is meant."""
    return tuple(
        _difference(kind, name, proposed[name], existing[name]) for name in kind.values if name != "confidence"
    )


def parts_of(existing: str, proposed: str) -> tuple[Part, ...]:
    """How the one text becomes the other; as a whole where comparing them word by word would take too long."""
    if existing == proposed:
        return _joined(iter([("same", existing)]))
    before, after = _words(existing), _words(proposed)
    if len(existing) + len(proposed) > LONGEST_COMPARED or _matches(before, after) > MOST_MATCHES:
        return _joined(iter([("removed", existing), ("added", proposed)]))
    return _joined(_compared(before, after))


def _difference(kind: EntityKind, name: str, proposed: Any, existing: Any) -> FieldDifference:
    is_json = isinstance(kind.proposals.c[name].type, JSONB)
    before, after = _text(existing, is_json), _text(proposed, is_json)
    same = before == after and (existing is None) == (proposed is None)
    return FieldDifference(name, proposed, existing, same, parts_of(before, after))


def _text(value: Any, is_json: bool) -> str:
    """As it is read; a legacy JSON value may hold half of a surrogate pair, which no page can be sent with."""
    if value is None:
        return ""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) if is_json else str(value)
    return text.encode(errors="backslashreplace").decode()


def _words(text: str) -> list[Word]:
    """Each word with the white space behind it; white space before the first one belongs to an empty word."""
    return [(match[1], match[2]) for match in re.finditer(r"(\S*)(\s*)", text) if match[0]]


def _matches(before: Sequence[Word], after: Sequence[Word]) -> int:
    counts = Counter(word for word, _ in after)
    return sum(counts[word] for word, _ in before)


def _compared(before: Sequence[Word], after: Sequence[Word]) -> Pieces:
    matcher = SequenceMatcher(None, [word for word, _ in before], [word for word, _ in after], autojunk=False)
    for how, start, end, new_start, new_end in matcher.get_opcodes():
        if how == "equal":
            yield from _same_words(before[start:end], after[new_start:new_end])
        else:
            yield from _other_words(before[start:end], after[new_start:new_end])


def _same_words(before: Sequence[Word], after: Sequence[Word]) -> Pieces:
    """The same words, though perhaps not the same white space between them."""
    for (word, space), (_, new_space) in zip(before, after, strict=True):
        yield "same", word
        if space == new_space:
            yield "same", space
        else:
            yield "removed", space
            yield "added", new_space


def _other_words(before: Sequence[Word], after: Sequence[Word]) -> Pieces:
    """Words of the one for words of the other; white space behind both is common to them."""
    space = before[-1][1] if before and after and before[-1][1] == after[-1][1] else ""
    yield "removed", "".join(word + gap for word, gap in before).removesuffix(space)
    yield "added", "".join(word + gap for word, gap in after).removesuffix(space)
    yield "same", space


def _joined(pieces: Pieces) -> tuple[Part, ...]:
    """Without empty ones, and neighbours of one sort as one."""
    parts: list[Part] = []
    for how, text in pieces:
        if text and parts and parts[-1].how == how:
            parts[-1] = Part(how, parts[-1].text + text)
        elif text:
            parts.append(Part(how, text))
    return tuple(parts)
