"""The dialog of a rollback by flags: shows the plan, asks for a reason, runs it, shows acknowledgements (strategy §8.2)."""

import json
from collections.abc import Sequence

from nicegui import ui

from knowledge_migration.engine.status.model import Writer
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.flag_rollback import FlagRollbackPlan, FlagRollbackResult
from knowledge_migration.knowledge.stages import PARTIAL_ROLLBACK_PERCENTAGE, RollbackKind
from knowledge_migration.knowledge.values import LONGEST_REASON
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.widgets import label

TITLES: dict[RollbackKind, str] = {
    "instant": "Roll back for all users",
    "partial": f"Roll back to {PARTIAL_ROLLBACK_PERCENTAGE} % of users",
}
MEANINGS: dict[RollbackKind, str] = {
    "instant": "Proposals are switched off for all users. Extractions write knowledge directly again, in dual-write mode.",
    "partial": f"Proposals stay on for at most {PARTIAL_ROLLBACK_PERCENTAGE} % of users. Extractions of all others "
    "write knowledge directly, in dual-write mode.",
}


class RollbackDialog:
    """The dialog of one kind of rollback; it is built once, and keeps the typed reason until the rollback is done."""

    def __init__(self, actions: Actions, kind: RollbackKind) -> None:
        self._actions, self._kind = actions, kind
        self._plan: FlagRollbackPlan | None = None
        self._result_shown: FlagRollbackResult | None = None
        key = f"rollback-{kind}"
        with (
            ui.dialog().props(f"aria-labelledby={key}-title") as self._dialog,
            ui.card().classes("rollback").props(f"id={key}"),
        ):
            self._build(kind, key)

    def _build(self, kind: RollbackKind, key: str) -> None:
        Text("h2", TITLES[kind]).props(f"id={key}-title")
        self._explanation = ui.element("div").props(f"id={key}-plan")
        self._reason = ui.textarea("Reason (recorded in the audit log)").props(
            f"outlined autogrow autofocus counter maxlength={LONGEST_REASON} id={key}-reason"
        )
        self._problem = Text("p", "", "problem").props(f"role=alert id={key}-problem")
        self._problem.set_visibility(False)
        self._result = ui.element("div").props(f"role=status aria-live=polite id={key}-result")
        with ui.element("div").classes("actions"):
            self._confirm = ui.button(TITLES[kind], on_click=self._roll_back)
            self._confirm.props(f"no-caps color=negative id={key}-confirm")
            self._again = ui.button("Read the flags again", on_click=self._read).props(
                f"no-caps outline id={key}-again"
            )
            self._close = ui.button("Cancel", on_click=self._dialog.close).props(f"no-caps flat id={key}-close")

    async def open(self) -> None:
        """Reads the plan and shows it."""
        self._result_shown = None
        self._result.clear()
        self._reason.set_visibility(True)
        self._close.set_text("Cancel")
        self._dialog.open()
        await self._read()

    def show_acknowledgements(self, writers: Sequence[Writer] | None) -> None:
        """Shows how many live processes have acknowledged the flags, after the rollback."""
        if self._result_shown is None or writers is None:
            return
        version = self._result_shown.after.version
        late = [one.process for one in writers if one.flag_version < version]
        message = f"{len(writers) - len(late)} of {len(writers)} live processes have acknowledged version {version}."
        self._acknowledgements.set_text(f"{message} Not yet: {', '.join(late)}." if late else message)

    async def _read(self) -> None:
        self._confirm.disable()
        try:
            self._plan = await self._actions.plan(self._kind)
        except KnowledgeError as error:
            self._plan = None
            self._explanation.clear()
            self._fail(str(error))
            return
        self._problem.set_visibility(False)
        self._again.set_visibility(False)
        self._explanation.clear()
        with self._explanation:
            self._explain(self._plan)
        self._confirm.set_visibility(True)
        self._confirm.enable()

    def _explain(self, plan: FlagRollbackPlan) -> None:
        Text("p", MEANINGS[self._kind])
        if plan.changes:
            _changes(plan)
        else:
            Text("p", "The flags have these values already; none would change.", "doubt")
        with ui.element("ul"):
            for consequence in self._consequences(plan):
                Text("li", consequence)

    def _consequences(self, plan: FlagRollbackPlan) -> list[str]:
        live = len(plan.processes)
        consequences = [
            f"{live} live process{'' if live == 1 else 'es'} acknowledge{'s' if live == 1 else ''} within 2 seconds, "
            "without a restart."
        ]
        if plan.stranded.total and not plan.after.enabled:
            reaching = sum(plan.stranded.replayable.values())
            threshold = self._actions.service.options.direct_threshold
            consequences.append(
                f"It strands {plan.stranded.total:,} pending proposals. {reaching:,} of them have a confidence of at least "
                f"{threshold:g} and are replayed: they become knowledge, as direct writes would. The others are parked: out "
                "of the queue, but on record."
            )
        else:
            consequences.append("It strands no pending proposal.")
        consequences.append("No user data is lost, and proposals can be switched on again.")
        return consequences

    async def _roll_back(self) -> None:
        if self._plan is None:
            return
        self._confirm.disable()
        try:
            version = self._plan.before.version
            result = await self._actions.roll_back_flags(
                self._kind, reason=self._reason.value or "", expected_version=version
            )
        except KnowledgeError as error:
            self._fail(str(error))
            self._confirm.enable()
            return
        self._show_result(result)

    def _show_result(self, result: FlagRollbackResult) -> None:
        self._result_shown = result
        self._problem.set_visibility(False)
        self._reason.value = ""
        for element in (self._reason, self._confirm, self._again):
            element.set_visibility(False)
        self._explanation.clear()
        self._close.set_text("Close")
        with self._result:
            Text("p", f"Done. The flags have version {result.after.version}: {label(result.after.state)}.")
            self._acknowledgements = Text("p", "Waiting for the live processes to acknowledge.").props(
                f"id=rollback-{self._kind}-acknowledgements"
            )
            Text("p", _stranded(result))

    def _fail(self, message: str) -> None:
        self._problem.set_text(message)
        self._problem.set_visibility(True)
        self._again.set_visibility(True)


def _changes(plan: FlagRollbackPlan) -> None:
    """The flags that change, with their values now and after."""
    with ui.element("table").classes("facts"):
        Text("caption", f"Flags of version {plan.before.version}: now and after", "visually-hidden")
        with ui.element("thead"), ui.element("tr"):
            for name in ("Flag", "Now", "After"):
                Text("th", name).props("scope=col")
        with ui.element("tbody"):
            for flag, after in plan.changes.items():
                with ui.element("tr"):
                    Text("th", label(flag)).props("scope=row")
                    Text("td", json.dumps(plan.before.values[flag]))
                    Text("td", json.dumps(after))


def _stranded(result: FlagRollbackResult) -> str:
    if result.stranded is None:
        return "The stranded proposals could not be counted; they are replayed or parked in the background."
    if not result.stranded:
        return "No proposal was stranded."
    return f"{result.stranded:,} stranded proposals are being replayed or parked; the audit trail lists each."
