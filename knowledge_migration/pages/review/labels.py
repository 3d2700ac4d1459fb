"""Texts of the review page: keys, states, actions, bands of confidence (strategy §10.3)."""

from typing import NamedTuple

from knowledge_migration.knowledge.proposals.proposal_detail import Decided, Thresholds
from knowledge_migration.pages.elements import age, percent


class Key(NamedTuple):
    """A key as the browser names it, as the page shows it, and its action."""

    code: str
    shown: str
    action: str


KEYS = (
    Key("a", "A", "Approve"),
    Key("e", "E", "Edit, then approve"),
    Key("r", "R", "Reject with a reason"),
    Key("m", "M", "Merge into the similar row"),
    Key("s", "S", "Skip for now"),
    Key("u", "U", "Undo the last action"),
    Key("j", "J", "Next in the list"),
    Key("k", "K", "Previous in the list"),
    Key("x", "X", "Select for a bulk action"),
    Key("b", "B", "Decide about the selection"),
    Key("/", "/", "Search"),
    Key("h", "H", "Switch between queue and history"),
    Key("t", "T", "Tour"),
    Key("?", "?", "All keys, and the meaning of confidence"),
)
SHOWN = {key.code: key.shown for key in KEYS}

STATUS = {
    "pending": "waiting for review",
    "approved": "approved",
    "auto_approved": "approved automatically",
    "rejected": "rejected",
    "merged": "merged",
    "withdrawn": "withdrawn",
    "parked": "parked",
}
ACTION = {
    "approve": "approved",
    "auto_approve": "approved automatically",
    "auto_approve_migration": "migrated",
    "dual_write": "written directly and as a proposal",
    "reject": "rejected",
    "merge": "merged",
    "undo": "undone",
    "park": "parked by a rollback",
    "replay": "approved by a rollback",
}
QUICK_REASONS = ("Not knowledge", "Wrong", "Too vague", "Already known", "Out of date")


def band(confidence: float | None, thresholds: Thresholds) -> tuple[str, str]:
    """The band of a confidence, and its meaning in a sentence."""
    auto_approve, direct = percent(thresholds.auto_approve), percent(thresholds.direct)
    if confidence is None:
        return "not stated", "The model stated no confidence."
    if confidence >= thresholds.auto_approve:
        return "very high", f"At {auto_approve} or more, a proposal may be approved automatically."
    if confidence >= thresholds.direct:
        return "good", f"Probably correct. Before the migration, {direct} was enough to be written without review."
    return "low", f"Below {direct}: before the migration, this would have been discarded. Review it carefully."


def about_confidence(thresholds: Thresholds) -> tuple[str, ...]:
    """The meaning of confidence, in a few paragraphs."""
    return (
        "Confidence is the extractor's own estimate, from 0 to 100 %, that a proposal is knowledge and is supported by "
        "its messages. It is not evidence; the messages are.",
        f"At {percent(thresholds.auto_approve)} or more, a proposal that is not similar to a row of another name is "
        "approved automatically, if automatic approval is enabled. The history shows such decisions with a robot and a "
        "dashed border. You can undo them like any other decision.",
        f"Review proposals below {percent(thresholds.direct)} carefully. The queue shows the highest confidence first.",
    )


def decision_sentence(decided: Decided) -> str:
    """One sentence: the reviewer, the decision and its age."""
    action = ACTION.get(decided.action or "", STATUS.get(decided.status, decided.status))
    reviewer = "The system" if decided.automatic and decided.by == "the system" else decided.by
    return f"{reviewer}: {action}, {age(decided.at)}."
