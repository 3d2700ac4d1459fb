"""The values of a proposal in fields, to be corrected before it is approved."""

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail
from knowledge_migration.knowledge.tables import ATOM_TYPES
from knowledge_migration.knowledge.values import LONGEST_TEXT
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.review.drafts import keep_draft, plain, unsent

LONG_TEXTS = ("description", "content")
LONGEST = {"name": 100, "title": 200, "icon": 50, "color": 7}
LONGEST_TYPED = LONGEST_TEXT + LONGEST_TEXT // 2
"""A little more than can be stored, so that it is refused in words; a message of more than 1 MB would not arrive at all."""


class EditForm:
    """The values in fields; what was typed stays until it is approved or put aside."""

    def __init__(self, look: ProposalDetail, draft: dict[str, Any] | None) -> None:
        self._look = look
        self.proposal_id = look.proposal["id"]
        self._fields: dict[str, ui.input | ui.textarea | ui.select] = {}
        with ui.element("section").props('aria-label="Edit the proposed values"').classes("box edit"):
            Text("h2", "Edit, then approve")
            for name in look.kind.values:
                if name == "confidence":
                    continue
                self._fields[name] = self._field(name, (draft or {}).get(name, self._proposed(name)))
        first = self._fields[look.kind.label]
        first.client.run_javascript(f'pages.focus("edit-{look.kind.label}")')

    def typed(self) -> dict[str, Any]:
        """All fields as they stand."""
        return {name: field.value for name, field in self._fields.items()}

    def unsent(self, typed: Mapping[str, int]) -> str | None:
        """Which field has not reached the service, in words."""
        return unsent({name: value for name, value in self.typed().items() if name != "type"}, typed)

    def changes(self) -> dict[str, Any]:
        """Only what differs from the proposal. Raises `ValueError` where the meta is no JSON object."""
        changed = {name: value for name, value in self.typed().items() if plain(value) != plain(self._proposed(name))}
        return {name: self._stored(name, value) for name, value in changed.items()}

    @staticmethod
    def _stored(name: str, value: Any) -> Any:
        if name == "meta":
            return _json(value) if (value or "").strip() else None
        return (value or None) if name in ("icon", "color") else value

    def _proposed(self, name: str) -> Any:
        value = self._look.proposal[name]
        if name == "meta" and value is not None:
            return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
        return value

    def _field(self, name: str, value: Any) -> "ui.input | ui.textarea | ui.select":
        made = self._made(name, value).props(f"outlined for=edit-{name}").classes("wide")
        draft = f"{self.proposal_id}:{name}"
        made.props["data-draft"] = draft
        if isinstance(made, ui.select):  # what is chosen is not typed
            made.on_value_change(lambda event: keep_draft(made, draft, event.value))
        return made

    @staticmethod
    def _made(name: str, value: Any) -> "ui.input | ui.textarea | ui.select":
        label = name.capitalize()
        if name == "type":
            return ui.select(list(ATOM_TYPES), value=value, label=label).props("dense options-dense")
        if name in (*LONG_TEXTS, "meta"):
            return ui.textarea(label, value=value or "").props(f"autogrow dir=auto maxlength={LONGEST_TYPED}")
        longest = f"maxlength={LONGEST[name]} counter" if name in LONGEST else ""
        return ui.input(label, value=value or "").props(f"dense dir=auto {longest}")


def _json(typed: str) -> Any:
    try:
        return json.loads(typed)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
