"""Why a proposal was flagged, and what about it needs a reviewer's attention, in plain sentences (strategy §10.3)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from knowledge_migration.knowledge.duplicates.names import normalised
from knowledge_migration.knowledge.entity_kinds import TOPIC, EntityKind

LOST = {"rejected": "was rejected", "withdrawn": "was approved and then withdrawn", "gone": "does not exist any more"}


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
        return (
            f"{a_kind} exists whose text means nearly the same: {alike} alike, "
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
        yield "A decision about it was taken back."
    for name, state in topics:
        if state in LOST:
            yield f"{f'The topic {name!r}' if name else 'A topic'} that it belongs to {LOST[state]}."
    yield from _deleted_messages(*messages)


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
