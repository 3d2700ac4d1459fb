"""What a reviewer needs to know about a proposal in plain sentences: why it was flagged, what differs, what to check.

Differences are parts of text, word by word: joined without the removed parts they are the proposal's text, without the added
parts the existing row's, character by character. A word is what is between white space (strategy §10.3).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from sqlalchemy.dialects.postgresql import JSONB

from knowledge_migration.knowledge.duplicates.names import normalised
from knowledge_migration.knowledge.entity_kinds import TOPIC, EntityKind
from knowledge_migration.value_loaders import readable_json

LOST = {
    "rejected": "was rejected",
    "withdrawn": "was approved, then its approval was undone",
    "gone": "does not exist any more",
}
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
    text = readable_json(value) if is_json else str(value)
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


def why_similar(
    kind: EntityKind,
    similarity_type: str | None,
    score: float | None,
    labels: tuple[str, str],
    differing: Sequence[str],
) -> str:
    """One sentence: how the existing row was found (see `duplicates.finder`), and in which of its values it differs now.

    `labels` are the proposal's name or title and the row's. Without a type a reviewer chose the row.
    """
    names = f"{', '.join(differing[:-1])} and {differing[-1]}" if len(differing) > 1 else "".join(differing)
    differ = f"{names} differ{'' if len(differing) > 1 else 's'}" if differing else "nothing differs"
    return f"{_similarity(kind, similarity_type, percent(score or 0.0), *labels)}; {differ}."


def _similarity(kind: EntityKind, similarity_type: str | None, alike: str, proposed: str, existing: str) -> str:
    a_kind = "A topic" if kind is TOPIC else "An atom"
    if similarity_type == "exact" and proposed != existing:
        return f"When it was compared, there was a {kind.name} of exactly this {kind.label}, which has another one now"
    if similarity_type == "exact":
        return f"{a_kind} of exactly this {kind.label} exists"
    if similarity_type == "spelling" and normalised(proposed) == normalised(existing):
        return f"{a_kind} of this {kind.label} exists, but for upper and lower case or blanks ({alike} alike)"
    if similarity_type == "spelling":
        return (
            f"{a_kind} exists whose {kind.label} is spelled {alike} alike, "
            "by the groups of three letters that both have or by their letters and digits in a row"
        )
    if similarity_type == "meaning":
        text = kind.label if kind is TOPIC else "text"
        return (
            f"{a_kind} exists whose {text} means nearly the same: {alike} alike, "
            "by the angle between the embeddings of the two (cosine)"
        )
    return f"A reviewer said that this {kind.name} is meant"


def doubts_about(
    kind: EntityKind,
    proposal: Mapping[str, Any],
    *,
    is_similar: bool,
    direct: float,
    auto_approve: float,
    topics: Sequence[tuple[str | None, str]],
    messages: tuple[int, int, str],
) -> Iterator[str]:
    """What a reviewer should check: the proposal's values, its topics, deleted messages.

    `topics` are (name, state) of each proposed topic; `messages` how many are stated, how many exist, and whose they are.
    """
    confidence = proposal["confidence"]
    if is_similar:
        sure = confidence is not None and confidence >= auto_approve
        held_back = sure and proposal["similarity_type"] in ("spelling", "meaning")
        why = f", so a person has to decide, whatever its confidence ({percent(confidence)})" if held_back else ""
        yield f"It is similar to an existing {kind.name}{why}."
    if confidence is not None and confidence < direct:
        yield f"Its confidence of {percent(confidence)} is low: below {percent(direct)}."
    if not (proposal["reasoning"] or "").strip():
        yield "The extractor gave no reason for it."
    if proposal["review_action"] == "undo":
        yield f"Its last decision was undone{_because(proposal['review_notes'])}; only a reviewer can approve it."
    for name, state in topics:
        if state in LOST:
            yield f"{f'The topic {name!r}' if name else 'A topic'} that it belongs to {LOST[state]}."
    yield from _deleted_messages(*messages)


def _because(notes: str | None) -> str:
    return f" (“{notes}”)" if notes else ""


def _deleted_messages(stated: int, existing: int, whose: str) -> Iterator[str]:
    gone = stated - existing
    if gone > 0 and existing:
        yield f"{gone} of the {stated} messages {whose} {'was' if gone == 1 else 'were'} deleted."
    elif gone == 1:
        yield f"The message {whose} was deleted."
    elif gone > 0:
        yield f"{'Both' if stated == 2 else f'All {stated}'} messages {whose} were deleted."


def percent(share: float) -> str:
    """A share of 1 as people write it, rounded down: a value below a threshold must not look equal to it."""
    return f"{int(share * 100 + 1e-9)} %"
