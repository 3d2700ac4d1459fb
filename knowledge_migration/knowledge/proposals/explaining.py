"""Why a proposal was flagged, and what about it needs a reviewer's attention, in plain words (strategy §10.3)."""

from collections.abc import Mapping, Sequence
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

    `labels` are the proposal's name or title and the row's. Without a type it was a reviewer who chose the row.
    """
    how = {"exact": _exact, "spelling": _spelling, "meaning": _meaning}.get(similarity_type or "", _chosen)
    return f"{how(kind, score or 0.0, *labels)}; {_differing(differing)}."


def doubts_about_values(
    kind: EntityKind, proposal: Mapping[str, Any], *, is_similar: bool, direct: float, auto_approve: float
) -> list[str]:
    """What its own values give reason to doubt."""
    doubts, confidence = [], proposal["confidence"]
    if is_similar:
        doubts.append(f"It is similar to an existing {kind.name}{_held_back(proposal, auto_approve)}.")
    if confidence is not None and confidence < direct:
        doubts.append(f"Its confidence of {percent(confidence)} is low: below {percent(direct)}.")
    if not (proposal["reasoning"] or "").strip():
        doubts.append("The extractor gave no reason for it.")
    if proposal["review_action"] == "undo":
        doubts.append("A decision about it was taken back.")
    return doubts


def doubts_about_topics(topics: Sequence[tuple[str | None, str]]) -> list[str]:
    """Which of the topics that an atom was proposed for it cannot be filed under: (name, state) of each."""
    return [
        f"The topic {name!r} that it belongs to {LOST[state]}."
        if name
        else f"A topic that it belongs to {LOST[state]}."
        for name, state in topics
        if state in LOST
    ]


def doubts_about_messages(stated: int, found: int, *, of_the_run: bool) -> list[str]:
    """Whether messages that it was made of are gone."""
    gone, whose = stated - found, "of its extraction" if of_the_run else "it comes from"
    if gone <= 0:
        return []
    if found:
        return [f"{gone} of the {stated} messages {whose} {'was' if gone == 1 else 'were'} deleted."]
    if stated == 1:
        return [f"The message {whose} was deleted."]
    return [f"{'Both' if stated == 2 else f'All {stated}'} messages {whose} were deleted."]


def percent(share: float) -> str:
    """A share of 1 as people write it, rounded down: what is below a threshold shall not look as if it reached it."""
    return f"{int(share * 100 + 1e-9)} %"


def _held_back(proposal: Mapping[str, Any], auto_approve: float) -> str:
    confidence, kind_of_similarity = proposal["confidence"], proposal["similarity_type"]
    sure = confidence is not None and confidence >= auto_approve
    if sure and kind_of_similarity in ("spelling", "meaning"):
        return f", so a person has to decide, whatever its confidence ({percent(confidence)})"
    return ""


def _exact(kind: EntityKind, score: float, proposed: str, existing: str) -> str:
    if proposed != existing:
        return f"When it was compared, there was a {kind.name} of exactly this {kind.label}, which has another one now"
    return f"{_a(kind)} of exactly this {kind.label} exists"


def _spelling(kind: EntityKind, score: float, proposed: str, existing: str) -> str:
    if normalised(proposed) == normalised(existing):
        return (
            f"{_a(kind)} of this {kind.label} exists, but for upper and lower case or blanks ({percent(score)} alike)"
        )
    return (
        f"{_a(kind)} exists whose {kind.label} is spelled {percent(score)} alike, "
        "by the groups of three letters that both have or by their letters and digits in a row"
    )


def _meaning(kind: EntityKind, score: float, proposed: str, existing: str) -> str:
    return (
        f"{_a(kind)} exists whose text means nearly the same: {percent(score)} alike, "
        "by the angle between the embeddings of the two (cosine)"
    )


def _chosen(kind: EntityKind, score: float, proposed: str, existing: str) -> str:
    return f"A reviewer said that this {kind.name} is meant"


def _differing(names: Sequence[str]) -> str:
    if not names:
        return "nothing differs"
    words = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"{words} differ{'' if len(names) > 1 else 's'}"


def _a(kind: EntityKind) -> str:
    return "A topic" if kind is TOPIC else "An atom"
