"""The forms above a proposal: edit, reject, merge. The browser keeps the typed text until the proposal is decided."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from nicegui import ui

from knowledge_migration.knowledge.decisions import Action
from knowledge_migration.knowledge.entity_kinds import EntityKind
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail
from knowledge_migration.knowledge.tables import ATOM_TYPES
from knowledge_migration.knowledge.values import HIGHEST_ID, LONGEST_REASON, LONGEST_TEXT, LOWEST_ID
from knowledge_migration.pages.elements import Text, button
from knowledge_migration.pages.review.labels import QUICK_REASONS
from knowledge_migration.value_loaders import readable_json

FindEntities = Callable[[EntityKind, str], Awaitable[list[tuple[int, str]]]]
Field = ui.input | ui.textarea | ui.select
REASON_DRAFT = "!reason"
REASON_MISSING = "Enter a reason for the other reviewers."
SUBMIT = "() => pages.submit()"
"""Submit buttons ask the browser for the length of the typed text: see `unsent`."""
MAX_LENGTH = {"name": 100, "title": 200, "icon": 50, "color": 7}
LONGEST_TYPED = LONGEST_TEXT + LONGEST_TEXT // 2
"""More than can be stored, so that the service refuses it with a message; a message over 1 MB would not arrive at all."""


class Form:
    """A form about one proposal; `options` are the arguments of its decision."""

    action: ClassVar[Action]
    name: ClassVar[str]
    submit: ClassVar[tuple[str, str, str]]
    classes: ClassVar[str] = "panel"

    def __init__(
        self, detail: ProposalDetail, drafts: Mapping[str, str], cancel: Callable[[], None], find: FindEntities
    ) -> None:
        self.detail = detail
        self._find = find
        self.proposal_id = detail.proposal["id"]
        label, shortcut, color = self.submit
        with ui.element("section").props(f'aria-label="{self.name}"').classes(self.classes):
            self.first = self._build(drafts)
            with ui.element("div").classes("actions"):
                button(label, shortcut, color=color).on("click", js_handler=SUBMIT)
                button("Cancel", "Esc", on_click=cancel, color="secondary").props("flat")
        self._focus()

    def drafts(self) -> dict[str, str]:
        """The typed values, by draft name."""
        return {}

    def options(self, typed: Mapping[str, int]) -> dict[str, Any] | None:
        """None if a field shows its own error; raises `ValueError` with a message. `typed` is the length of each field."""
        problem = unsent({name: value for name, value in self.drafts().items() if name != "type"}, typed)
        if problem:
            raise ValueError(problem)
        return self._options()

    def _build(self, drafts: Mapping[str, str]) -> Field:
        """Adds the fields; returns the one that gets the focus."""
        raise NotImplementedError

    def _options(self) -> dict[str, Any] | None:
        raise NotImplementedError

    def _focus(self) -> None:
        self.first.client.run_javascript(f'pages.focus("{self.first.props["for"]}")')

    def _refuse(self, message: str) -> None:
        """Shows beside the first field why it is invalid."""
        self.first.props("error").props["error-message"] = message
        self.first.update()

    def _keep(self, field: Field, name: str) -> Field:
        """Lets the browser keep the typed text of a field."""
        field.props["data-draft"] = f"{self.proposal_id}:{name}"
        return field.classes("wide")


class EditForm(Form):
    """The proposed values, to be corrected before the approval."""

    action = "approve"
    name = "Edit the proposed values"
    submit = ("Approve with changes", "Ctrl+Enter", "positive")
    classes = "edit"

    def drafts(self) -> dict[str, str]:
        """The values of all fields."""
        return {name: field.value or "" for name, field in self._fields.items()}

    def _build(self, drafts: Mapping[str, str]) -> Field:
        Text("h2", "Edit, then approve")
        names = [name for name in self.detail.kind.values if name != "confidence"]
        self._fields = {name: self._field(name, drafts.get(name, self._proposed(name))) for name in names}
        return self._fields[self.detail.kind.label]

    def _options(self) -> dict[str, Any]:
        """Only the values that differ from the proposal."""
        changed = {
            name: field.value
            for name, field in self._fields.items()
            if _as_typed(field.value) != _as_typed(self._proposed(name))
        }
        try:
            return {"changes": {name: _as_stored(name, value) for name, value in changed.items()} or None}
        except ValueError as error:
            raise ValueError(f"The meta is not valid JSON: {str(error)[:200]}. Your text is still here.") from error

    def _proposed(self, name: str) -> Any:
        value = self.detail.proposal[name]
        if name == "meta" and value is not None:
            return readable_json(value)
        return value

    def _field(self, name: str, value: Any) -> Field:
        label = name.capitalize()
        field: Field
        if name == "type":
            field = ui.select(list(ATOM_TYPES), value=value, label=label).props("dense options-dense")
            field.on_value_change(lambda event: keep_draft(field, event.value))
        elif name in ("description", "content", "meta"):
            field = ui.textarea(label, value=value or "").props(f"autogrow dir=auto maxlength={LONGEST_TYPED}")
        else:
            limit = f"maxlength={MAX_LENGTH[name]} counter" if name in MAX_LENGTH else ""
            field = ui.input(label, value=value or "").props(f"dense dir=auto {limit}")
        return self._keep(field.props(f"outlined for=edit-{name}"), name)


class RejectForm(Form):
    """The reason of a rejection."""

    action = "reject"
    name = "Reject"
    submit = ("Reject", "Enter", "negative")

    def drafts(self) -> dict[str, str]:
        """The typed reason."""
        return {REASON_DRAFT: self._reason.value or ""}

    def _build(self, drafts: Mapping[str, str]) -> Field:
        Text("h2", "Reject: why?")
        self._reason = ui.input("Reason", value=drafts.get(REASON_DRAFT, ""))
        self._reason.props(f"outlined dense dir=auto maxlength={LONGEST_REASON} for=reason")
        with ui.element("div").classes("quick"):
            for reason in QUICK_REASONS:
                ui.button(reason, on_click=lambda reason=reason: self._add(reason)).props("outline dense no-caps")
        return self._keep(self._reason, REASON_DRAFT)

    def _options(self) -> dict[str, Any] | None:
        reason = (self._reason.value or "").strip()
        if not reason:
            self._refuse(REASON_MISSING)
        return {"notes": reason} if reason else None

    def _add(self, quick_reason: str) -> None:
        reason = (self._reason.value or "").strip()
        self._reason.value = f"{reason}; {quick_reason.lower()}" if reason else quick_reason
        keep_draft(self._reason, self._reason.value)
        self._focus()


class MergeForm(Form):
    """The existing row to merge into, found by its name; the similar one is the default. Ids are texts: a browser rounds them."""

    action = "merge"
    name = "Merge"
    submit = ("Merge", "Enter", "primary")

    def _build(self, drafts: Mapping[str, str]) -> Field:
        kind, similar = self.detail.kind, self.detail.similar
        Text("h2", f"Merge into which {kind.name}?")
        effect = "keeps its values and receives the messages and relations of the proposal"
        Text("p", f"The existing {kind.name} {effect}.", "muted")
        field = ui.input(f"Name or number of the {kind.name}", value=str(similar.id) if similar else "")
        field.props("outlined dense for=merge-into autocomplete=off").on_value_change(self._search)
        self._chosen = Text("p", "", "value").props("id=merge-chosen role=status")
        self._list = ui.element("ul").classes("matches").props(f'aria-label="Existing {kind.table} of this name"')
        self._target = field
        self._names = {similar.id: str(similar.values[kind.label])} if similar else {}
        self._show_chosen()
        return field

    @property
    def _number(self) -> int | None:
        """The typed number, if it can be an id."""
        typed = (self._target.value or "").strip()
        return int(typed) if re.fullmatch(r"-?[0-9]{1,19}", typed) and LOWEST_ID <= int(typed) <= HIGHEST_ID else None

    async def _search(self) -> None:
        typed = (self._target.value or "").strip()
        matches: list[tuple[int, str]] = []
        if typed:
            try:
                matches = await self._find(self.detail.kind, typed)
            except KnowledgeError as error:
                self._refuse(str(error))
        if typed != (self._target.value or "").strip():
            return  # a later search shows its own
        self._names = dict(matches)
        self._show_chosen()
        self._list.clear()
        with self._list:
            for entity_id, name in matches if self._number not in self._names else ():
                with ui.element("li"):
                    pick = ui.element("button").props("type=button").classes("row-button match")
                    with pick.on("click", lambda entity_id=entity_id: self._choose(entity_id)):
                        Text("span", name)
                        Text("span", f"{self.detail.kind.name} {entity_id}", "muted")

    def _show_chosen(self) -> None:
        """The name of the row whose number is in the field."""
        number = self._number
        name = self._names.get(number) if number is not None else None
        self._chosen.set_text(f"{number}: {name}" if name is not None else "")

    def _choose(self, entity_id: int) -> None:
        self._target.value = str(entity_id)
        self._focus()

    def _options(self) -> dict[str, Any] | None:
        """A name that only one row matches is chosen first and merged at the next Enter, so that its number is seen."""
        if self._number is not None:
            return {"into_entity_id": self._number}
        if len(self._names) == 1:
            self._choose(next(iter(self._names)))
        else:
            self._refuse(f"Choose an existing {self.detail.kind.name} from the list, or enter its number.")
        return None


def unsent(values: Mapping[str, object], typed: Mapping[str, int]) -> str | None:
    """A message about the first value that differs in length from its field; None if all text has reached the service.

    Text that is longer than one message to the service, or cannot be encoded, silently stays in the browser.
    """
    for name, value in values.items():
        received = len(_as_typed(value).encode("utf-16-le", "surrogatepass")) // 2  # as browsers count
        length = typed.get(name, received)
        if length != received:
            return (
                f"{name.removeprefix('!')}: the {length:,} typed characters have not reached the service. It accepts at most "
                f"{LONGEST_TEXT} characters of text, and no text that cannot be stored."
            )
    return None


def keep_draft(field: Field, value: str) -> None:
    """Lets the browser keep a chosen value; it keeps typed text by itself."""
    field.client.run_javascript(f"pages.keepDraft({json.dumps(field.props['data-draft'])}, {json.dumps(value)})")


def _as_typed(value: object) -> str:
    """A value as a field of the browser contains it: without NULL, with its line ends."""
    return str(value or "").replace("\r\n", "\n").replace("\r", "\n")


def _as_stored(name: str, value: Any) -> Any:
    if name == "meta":
        return _json(value) if (value or "").strip() else None
    return (value or None) if name in ("icon", "color") else value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
