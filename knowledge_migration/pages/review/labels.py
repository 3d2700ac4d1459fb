"""What the review page says in words: keys, states, actions, and what confidence means (strategy §10.3)."""

from dataclasses import dataclass

from knowledge_migration.knowledge.proposals.proposal_detail import Decided, Thresholds
from knowledge_migration.pages.elements import age, percent


@dataclass(frozen=True)
class Key:
    """A key, as the browser calls it and as people do, and what it does."""

    code: str
    shown: str
    does: str


KEYS = (
    Key("a", "A", "Approve"),
    Key("e", "E", "Edit, then approve"),
    Key("r", "R", "Reject, with a reason"),
    Key("m", "M", "Merge into the similar one"),
    Key("s", "S", "Skip for now"),
    Key("u", "U", "Undo the last action"),
    Key("j", "J", "Next in the list"),
    Key("k", "K", "Previous in the list"),
    Key("x", "X", "Select for a bulk action"),
    Key("b", "B", "Act on what is selected"),
    Key("/", "/", "Search"),
    Key("h", "H", "History and back"),
    Key("t", "T", "Tour"),
    Key("?", "?", "All keys, and what confidence means"),
)
SHOWN = {key.code: key.shown for key in KEYS}

STATUS = {
    "pending": "waits for review",
    "approved": "approved",
    "auto_approved": "approved automatically",
    "rejected": "rejected",
    "merged": "merged",
    "withdrawn": "taken back",
    "parked": "put aside",
}
ACTION = {
    "approve": "approved",
    "auto_approve": "approved automatically",
    "auto_approve_migration": "taken over by the migration",
    "dual_write": "written directly, with its proposal beside it",
    "reject": "rejected",
    "merge": "merged",
    "undo": "taken back",
    "park": "put aside by a rollback",
    "replay": "approved by a rollback",
}
QUICK_REASONS = ("Not knowledge", "Wrong", "Too vague", "Already known", "Out of date")


def band(confidence: float | None, thresholds: Thresholds) -> tuple[str, str]:
    """How sure the model is, in a word and in a sentence."""
    if confidence is None:
        return "not stated", "The model did not say how sure it is."
    if confidence >= thresholds.auto_approve:
        return (
            "very high",
            f"At {percent(thresholds.auto_approve)} or more a proposal may be approved without a person.",
        )
    if confidence >= thresholds.direct:
        return (
            "good",
            f"Likely right. Before the migration {percent(thresholds.direct)} was enough to be written unseen.",
        )
    return (
        "low",
        f"Below {percent(thresholds.direct)}: before the migration this would have been dropped. Look closely.",
    )


def about_confidence(thresholds: Thresholds) -> tuple[str, ...]:
    """What confidence means, in a few sentences."""
    return (
        "Confidence is the extractor's own word, from 0 to 100 %: how sure it is that this is knowledge and stands in "
        "the messages. It is no proof; the messages beside it are.",
        f"At {percent(thresholds.auto_approve)} or more, and similar to nothing of another name, a proposal is approved "
        "automatically where that is switched on. Such decisions carry a robot and a dashed frame in the history, and "
        "can be taken back like any other.",
        f"Below {percent(thresholds.direct)} look twice. The queue begins with the surest, so that the quick ones come "
        "first.",
    )


def who_decided(decided: Decided) -> str:
    """One sentence: who decided what, and when."""
    words = ACTION.get(decided.action or "", STATUS.get(decided.status, decided.status))
    who = "The system" if decided.automatic and decided.by == "the system" else decided.by
    return f"{who}: {words}, {age(decided.at)}."
