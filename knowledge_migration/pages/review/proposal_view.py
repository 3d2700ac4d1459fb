"""One proposal: values, confidence, reasoning, messages, topics, and its differences from a similar row."""

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from knowledge_migration.knowledge.proposals.explaining import FieldDifference, Part
from knowledge_migration.knowledge.proposals.proposal_detail import (
    ProposalDetail,
    SimilarRow,
    SourceMessage,
    Thresholds,
)
from knowledge_migration.pages.elements import Text, age, at, named, percent, section
from knowledge_migration.pages.review.labels import STATUS, band, decision_sentence
from knowledge_migration.value_loaders import JsonText, readable_json

SHOWN_MESSAGES = 3
LONG = 2_000
"""Characters above which a text scrolls in a box."""
SUMMARY = 40
"""Characters of folded JSON that are displayed."""
TAGS = {"same": "span", "removed": "del", "added": "ins"}
MOST_PARTS = 400
"""Texts with more differences than this are shown without marking them."""


def proposal_view(detail: ProposalDetail, thresholds: Thresholds) -> None:
    """All of one proposal."""
    proposal = detail.proposal
    with ui.element("header").classes("proposal-head"):
        with ui.element("div"):
            kind = f"Proposed {proposal['type']} (atom)" if detail.kind.name == "atom" else "Proposed topic"
            Text("p", f"{kind} · {age(proposal['created_at'])}", "muted")
            Text("h2", proposal[detail.kind.label]).props("id=proposal-heading tabindex=-1")
        _confidence(proposal["confidence"], thresholds)
    _decided(detail)
    for doubt in detail.doubt:
        with ui.element("p").classes("doubt"):
            ui.icon("warning").props("aria-hidden=true")
            Text("span", doubt)
    _values(detail)
    _similar(detail)
    with section("reasoning", "Reasoning"):
        _long_text("p", proposal["reasoning"] or "The extractor gave no reason.")
    _topics(detail)
    _messages(detail)
    _origin(detail)


def _decided(detail: ProposalDetail) -> None:
    """The decision; an automatic one has a robot and a dashed border."""
    if detail.decided is None:
        return
    automatic = detail.decided.automatic
    with ui.element("div").classes("decided automatic" if automatic else "decided manual").props("role=status"):
        ui.icon("smart_toy" if automatic else "person").props("aria-hidden=true")
        with ui.element("div"):
            Text("strong", "Decided automatically" if automatic else "Decided by a person")
            Text("p", decision_sentence(detail.decided))
            if detail.decided.notes:
                Text("p", f"“{detail.decided.notes}”")


def _confidence(confidence: float | None, thresholds: Thresholds) -> None:
    name, meaning = band(confidence, thresholds)
    with ui.element("div").classes("confidence-box").props("id=confidence role=group"):
        Text("span", "Confidence", "muted")
        Text("strong", percent(confidence), "confidence-number")
        Text("span", name, f"confidence-band {name.replace(' ', '-')}")
        if confidence is not None:
            _meter(confidence, name)
        ui.tooltip(meaning)


def _meter(confidence: float, name: str) -> None:
    """A bar in the colour of the word beside it; <meter> would have three colours of the browser's own."""
    meter = ui.element("div").classes(f"meter {name.replace(' ', '-')}")
    meter.props(f"role=meter aria-valuemin=0 aria-valuemax=1 aria-valuenow={confidence:.4f}")
    with named(meter, f"Confidence {percent(confidence)}, {name}"):
        ui.element("div").style(f"width: {100 * min(max(confidence, 0), 1):.1f}%")


def _values(detail: ProposalDetail) -> None:
    with ui.element("section").props('aria-label="Proposed values" id=values'), ui.element("dl").classes("values"):
        for name in detail.kind.values:
            value = detail.proposal[name]
            if name in (detail.kind.label, "confidence", "type") or value is None:
                continue
            Text("dt", name)
            with ui.element("dd"):
                _value(name, value)


def _value(name: str, value: Any) -> None:
    if name == "color":
        swatch = ui.element("span").classes("swatch").props("aria-hidden=true")
        swatch.style(f"background: {value}" if _is_colour(value) else "")
        Text("span", value)
    elif isinstance(value, dict | list | JsonText):
        _folded_json(readable_json(value))
    else:
        _long_text("p", str(value))


def _folded_json(text: str) -> None:
    """Raw JSON, which few reviewers read, behind its first characters."""
    with ui.element("details").classes("json"):
        start = " ".join(text.split())
        Text("summary", start if len(start) <= SUMMARY else f"{start[:SUMMARY]}…")
        _long_text("pre", text)


def _long_text(tag: str, text: str) -> None:
    """A text of any length; a long one scrolls in its box, also with the keyboard."""
    element = Text(tag, text, "value")
    if len(text) > LONG:
        element.classes("scrolls").props("tabindex=0")


def _is_colour(value: str) -> bool:
    return len(value) == 7 and value[0] == "#" and all(digit in "0123456789abcdefABCDEF" for digit in value[1:])


def _similar(detail: ProposalDetail) -> None:
    """The similar row beside the proposal, field by field, and why it counts as similar."""
    similar = detail.similar
    if similar is None:
        if detail.why:
            with ui.element("section").props('aria-label="Similar"').classes("box"):
                Text("p", detail.why)
        return
    score = f", {percent(similar.score)}" if similar.score is not None else ""
    with section("similar", f"Similar to {detail.kind.name} {similar.id}{score}", "box attention-box"):
        Text("p", detail.why, "why")
        with ui.element("table").classes("differences"):
            _difference_heading(similar)
            with ui.element("tbody"):
                for difference in similar.differences:
                    _difference(difference)
        with ui.element("p").classes("legend"):
            Text("ins", "only in the proposal")
            Text("span", " and ")
            Text("del", "only in the existing row")


def _difference_heading(similar: SimilarRow) -> None:
    changed = f", changed {age(similar.updated_at)}" if similar.updated_at else ""
    with ui.element("thead"), ui.element("tr"):
        for title in ("Field", "Proposed", f"Existing (number {similar.id}{changed})"):
            Text("th", title).props("scope=col")


def _difference(difference: FieldDifference) -> None:
    proposed = [part for part in difference.parts if part.how != "removed"]
    existing = [part for part in difference.parts if part.how != "added"]
    with ui.element("tr").classes("same" if difference.same else "differs"):
        Text("th", difference.field).props("scope=row")
        if difference.same:
            with ui.element("td").props("colspan=2"):
                Text("span", _joined(proposed), "value")
                Text("span", " identical", "muted")
            return
        for parts in (proposed, existing):
            with ui.element("td"):
                _parts(parts, is_marked=len(difference.parts) <= MOST_PARTS)


def _parts(parts: Sequence[Part], *, is_marked: bool) -> None:
    if not parts or not is_marked:
        Text("span", _joined(parts), "value")
        return
    with ui.element("span").classes("value").props("dir=auto"):
        for part in parts:
            Text(TAGS[part.how], part.text).props(remove="dir")


def _joined(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts) or "—"


def _topics(detail: ProposalDetail) -> None:
    if detail.kind.name != "atom":
        return
    with section("topics", "Proposed topics"):
        if not detail.topics:
            Text("p", "None.")
        with ui.element("ul").classes("chips"):
            for topic in detail.topics:
                state = "exists" if topic.state == "topic" else STATUS.get(topic.state, topic.state)
                with ui.element("li").classes("chip"):
                    Text("span", topic.name or f"{topic.reference}")
                    Text("span", f" · {state}", "muted")


def _messages(detail: ProposalDetail) -> None:
    total = detail.message_total
    count = {0: "no existing message", 1: "1 message"}.get(total, f"{total:,} messages")
    scope = "" if detail.messages_are_of == "proposal" else " of its extraction"
    with section("messages", f"From {count}{scope}"):
        _quotes(detail.messages[:SHOWN_MESSAGES])
        rest = detail.messages[SHOWN_MESSAGES:]
        if rest:
            with ui.expansion(f"{len(rest)} more").props("dense"):
                _quotes(rest)
        if total > len(detail.messages):
            Text("p", f"{total - len(detail.messages):,} more messages are not displayed.", "muted")


def _quotes(messages: Sequence[SourceMessage]) -> None:
    for message in messages:
        with ui.element("figure").classes("message"):
            with ui.element("blockquote"):
                _long_text("p", message.content)
            Text("figcaption", f"{message.author or 'unknown author'}, {at(message.sent_at)}", "muted")


def _origin(detail: ProposalDetail) -> None:
    run = detail.run
    facts = [
        f"Proposal {detail.proposal['id']}",
        f"run {run.id}",
        run.extractor and f"extractor {run.extractor}",
        run.mode,
    ]
    with ui.element("p").classes("muted origin").props("id=origin"):
        Text("span", " · ".join(fact for fact in facts if fact) + " · ")
        ui.link("only this run", f"/review?run={run.id}")
