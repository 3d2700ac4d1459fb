"""One proposal, so that a person can decide in half a minute: values, confidence, reasoning, messages, what it resembles."""

import json
from typing import Any

from nicegui import ui

from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail, Thresholds
from knowledge_migration.pages.elements import Text, age, at, named, percent
from knowledge_migration.pages.review.difference_view import difference_view
from knowledge_migration.pages.review.labels import STATUS, band, who_decided

SHOWN_MESSAGES = 3
LONG = 2_000
"""Characters of a text that is not shown at its full height."""


def proposal_view(look: ProposalDetail, thresholds: Thresholds) -> None:
    """All of one proposal."""
    proposal = look.proposal
    with ui.element("header").classes("proposal-head"):
        with ui.element("div"):
            kind = f"Proposed {proposal['type']} (atom)" if look.kind.name == "atom" else "Proposed topic"
            Text("p", f"{kind} · {age(proposal['created_at'])}", "muted")
            Text("h2", proposal[look.kind.label]).props("id=proposal-heading tabindex=-1")
        _confidence(proposal["confidence"], thresholds)
    if look.decided:
        decided_banner(look)
    for doubt in look.doubt:
        with ui.element("p").classes("doubt"):
            ui.icon("warning").props("aria-hidden=true")
            Text("span", doubt)
    _values(look)
    difference_view(look)
    _reasoning(look)
    _topics(look)
    _messages(look)
    _origin(look)


def decided_banner(look: ProposalDetail) -> None:
    """Who decided what; a robot and a dashed frame where nobody did."""
    assert look.decided is not None
    automatic = look.decided.automatic
    with ui.element("div").classes("decided automatic" if automatic else "decided manual").props("role=status"):
        ui.icon("smart_toy" if automatic else "person").props("aria-hidden=true")
        with ui.element("div"):
            Text("strong", "Decided automatically" if automatic else "Decided by a person")
            Text("p", who_decided(look.decided))
            if look.decided.notes:
                Text("p", f"“{look.decided.notes}”")


def _confidence(confidence: float | None, thresholds: Thresholds) -> None:
    word, sentence = band(confidence, thresholds)
    with ui.element("div").classes("confidence-box").props("id=confidence role=group"):
        Text("span", "Confidence", "muted")
        Text("strong", percent(confidence), "confidence-number")
        Text("span", word, f"confidence-word {word.replace(' ', '-')}")
        if confidence is not None:
            meter = ui.element("meter").props(
                f"min=0 max=1 value={confidence:.4f} low={thresholds.direct} high={thresholds.auto_approve} optimum=1"
            )
            named(meter, f"Confidence {percent(confidence)}, {word}")
        ui.tooltip(sentence)


def _values(look: ProposalDetail) -> None:
    with ui.element("section").props('aria-label="Proposed values" id=values'), ui.element("dl").classes("values"):
        for name in look.kind.values:
            value = look.proposal[name]
            if name in (look.kind.label, "confidence", "type") or value is None:
                continue
            Text("dt", name)
            with ui.element("dd"):
                _value(name, value)


def _value(name: str, value: Any) -> None:
    if name == "color":
        swatch = ui.element("span").classes("swatch").props("aria-hidden=true")
        swatch.style(f"background: {value}" if _is_colour(value) else "")
        Text("span", value)
    elif isinstance(value, dict | list):
        _reading("pre", json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True))
    else:
        _reading("p", str(value))


def _reading(tag: str, text: str) -> None:
    """A text of any length; a long one scrolls in itself, also with the keyboard."""
    shown = Text(tag, text, "value")
    if len(text) > LONG:
        shown.classes("scrolls").props("tabindex=0")


def _is_colour(value: str) -> bool:
    return len(value) == 7 and value[0] == "#" and all(digit in "0123456789abcdefABCDEF" for digit in value[1:])


def _reasoning(look: ProposalDetail) -> None:
    with ui.element("section").props('aria-labelledby="reasoning-heading"').classes("box"):
        Text("h3", "Why the extractor proposes it").props("id=reasoning-heading")
        _reading("p", look.proposal["reasoning"] or "It gave no reason.")


def _topics(look: ProposalDetail) -> None:
    if look.kind.name != "atom":
        return
    with ui.element("section").props('aria-labelledby="topics-heading"').classes("box"):
        Text("h3", "Proposed topics").props("id=topics-heading")
        if not look.topics:
            Text("p", "None.")
        with ui.element("ul").classes("chips"):
            for topic in look.topics:
                state = "exists" if topic.state == "topic" else STATUS.get(topic.state, topic.state)
                with ui.element("li").classes("chip"):
                    Text("span", topic.name or f"{topic.reference}")
                    Text("span", f" · {state}", "muted")


def _messages(look: ProposalDetail) -> None:
    with ui.element("section").props('aria-labelledby="messages-heading" id=messages').classes("box"):
        counted = {0: "no message that still exists", 1: "one message"}
        whose = counted.get(look.message_total, f"{look.message_total:,} messages")
        scope = "" if look.messages_are_of == "proposal" else " of its extraction"
        Text("h3", f"From {whose}{scope}").props("id=messages-heading")
        first, rest = look.messages[:SHOWN_MESSAGES], look.messages[SHOWN_MESSAGES:]
        _quotes(first)
        if rest:
            with ui.expansion(f"{len(rest)} more").props("dense"):
                _quotes(rest)
        beyond = look.message_total - len(look.messages)
        if beyond:
            Text("p", f"{beyond:,} more are not shown.", "muted")


def _quotes(messages: tuple[Any, ...]) -> None:
    for message in messages:
        with ui.element("figure").classes("message"):
            with ui.element("blockquote"):
                _reading("p", message.content)
            Text("figcaption", f"{message.author or 'somebody'}, {at(message.sent_at)}", "muted")


def _origin(look: ProposalDetail) -> None:
    run, proposal = look.run, look.proposal
    facts = [f"run {run.id}", f"extractor {run.extractor}" if run.extractor else "", run.mode or ""]
    with ui.element("p").classes("muted origin"):
        Text("span", f"Proposal {proposal['id']} · " + " · ".join(fact for fact in facts if fact) + " · ")
        ui.link("only this run", f"/review?run={run.id}")
