"""The role of a sentence (problem, solution, decision, ...), from a label at its start, its question mark and cue words.

The cues are English; a question is recognized in any script. Where cues overlap, the longest counts ("must have been"
is no "must"). A cue of the role None only takes its words from others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from knowledge_migration.knowledge.extraction.cues import CUES, HEDGES, LABELS, Strength
from knowledge_migration.knowledge.extraction.model import AtomType
from knowledge_migration.knowledge.extraction.sentences import Sentence
from knowledge_migration.knowledge.extraction.vocabulary import INTERROGATIVES, OPENERS


@dataclass(frozen=True)
class Role:
    """What a sentence is, by which cue of which strength; `cues` counts all that tell the same."""

    type: AtomType
    strength: Strength
    cue: str
    cues: int = 1


_LABEL = re.compile(r"^\W{0,3}([A-Za-z][A-Za-z ]{0,20}?)(?:\([^()]{0,30}\))?\s?[:：]\s")

_QUESTION_MARKS = ("?", "？", "؟")
_OPENING_TALK = re.compile(
    r"^(?:(?:and|so|but|well|yeah|yes|no|okay|ok|oh|um|uh|actually|basically|now|alright|all right|sure|absolutely|exactly|"
    r"right|hey|hi all|hi|i mean|i guess|i think|you know|of course|like)(?:[,.]\s+|\s+(?!of\b|is\b|are\b|one\b|that\b)))+",
    re.I,
)
_HEDGES = tuple(f" {hedge} " for hedge in HEDGES.split("|"))


def role_of(sentence: Sentence) -> Role | None:
    """The role that the sentence's label, question mark or cues tell; None if nothing does."""
    return _labelled(sentence.text) or _asked(sentence) or _cued(sentence.words)


def is_hedged(sentence: Sentence) -> bool:
    """True if the speaker says that it may be otherwise, or is interrupted."""
    return sentence.text.endswith(("--", "—")) or any(hedge in sentence.spoken for hedge in _HEDGES)


def without_opening(text: str) -> str:
    """The text without the words of talk before it starts ("Yeah, so, I mean")."""
    rest = _OPENING_TALK.sub("", text) or text
    return rest[:1].upper() + rest[1:]


def without_label(text: str) -> str:
    """The text without a label of a role before it ("Decision: ")."""
    match = _LABEL.match(text)
    return text[match.end() :] if match and match[1].lower() in LABELS and text[match.end() :].strip() else text


def _labelled(text: str) -> Role | None:
    match = _LABEL.match(text)
    type = LABELS.get(match[1].lower().strip()) if match else None
    return Role(type, Strength.EXPLICIT, f"{match[1].strip()}:") if match and type else None


def _asked(sentence: Sentence) -> Role | None:
    """A question, if it ends as one; clear if it starts as one, too, and is no mere "right?"."""
    if not sentence.text.rstrip("\"'”’»)] ").endswith(_QUESTION_MARKS):
        return None
    opening = next((word for word in sentence.words if word not in OPENERS), "")
    foreign = not any(word.isascii() for word in sentence.words)
    clear = (opening in INTERROGATIVES and len(sentence.words) > 4) or foreign
    return Role("question", Strength.CLEAR if clear else Strength.HINT, "?")


def _cued(words: tuple[str, ...]) -> Role | None:
    """The role with the strongest cues; of equals the one with more of them, then the one whose cue is first."""
    told: dict[AtomType, Role] = {}
    for cue, type, strength in _cues_in(words):
        known = told.get(type)
        if known is None:
            told[type] = Role(type, strength, cue)
        else:
            strongest = known if known.strength >= strength else Role(type, strength, cue)
            told[type] = Role(type, strongest.strength, strongest.cue, known.cues + 1)
    return max(told.values(), key=lambda role: (role.strength, role.cues), default=None)


def _cues_in(words: tuple[str, ...]) -> Iterator[tuple[str, AtomType, Strength]]:
    """The cues of the sentence from left to right, the longest where several start with one word."""
    position = next((number for number, word in enumerate(words) if word not in OPENERS), 0)
    opening = position
    while position < len(words):
        length = 1
        for cue, at_start, type, strength in _BY_FIRST_WORD.get(words[position], ()):
            if words[position : position + len(cue)] == cue and (position == opening or not at_start):
                length = len(cue)
                if type is not None:
                    yield " ".join(cue), type, strength
                break
        position += length


def _by_first_word() -> dict[str, list[tuple[tuple[str, ...], bool, AtomType | None, Strength]]]:
    """The cues by their first word, longest and strongest first."""
    cues: dict[str, list[tuple[tuple[str, ...], bool, AtomType | None, Strength]]] = {}
    for type, strength, listed in CUES:
        for cue in listed.split("|"):
            words = tuple(cue.removeprefix("^").split())
            cues.setdefault(words[0], []).append((words, cue.startswith("^"), type, strength))
    for same in cues.values():
        same.sort(key=lambda cue: (-len(cue[0]), -cue[3]))
    return cues


_BY_FIRST_WORD = _by_first_word()
