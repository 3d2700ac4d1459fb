"""Going back by flags: a dialog that says in plain words what will happen, asks why, does it, shows who obeys (strategy §8.2)."""

import json
from collections.abc import Sequence

from nicegui import ui

from knowledge_migration.engine.rollback.flags import RollbackPlan
from knowledge_migration.engine.status.model import Writer
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.flag_rollback import FlagRollbackResult
from knowledge_migration.knowledge.stages import FlagRollback
from knowledge_migration.knowledge.values import LONGEST_REASON
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.rows import named

TITLES: dict[FlagRollback, str] = {"instant": "Go back for everyone", "partial": "Go back to a tenth of the users"}
MEANINGS: dict[FlagRollback, str] = {
    "instant": "Proposals are switched off for everyone. Extractions write knowledge directly again, with a proposal beside.",
    "partial": "Proposals stay for at most a tenth of the users. The others' extractions write knowledge directly, with a "
    "proposal beside.",
}


class RollbackDialog:
    """One dialog for one way; it is made once, and what was typed stays in it until the deed is done."""

    def __init__(self, actions: Actions, way: FlagRollback) -> None:
        self._actions, self._way = actions, way
        self._plan: RollbackPlan | None = None
        self._done: FlagRollbackResult | None = None
        key = f"rollback-{way}"
        with (
            ui.dialog().props(f"aria-labelledby={key}-title") as self._dialog,
            ui.card().classes("rollback").props(f"id={key}"),
        ):
            self._build(way, key)

    def _build(self, way: FlagRollback, key: str) -> None:
        Text("h2", TITLES[way]).props(f"id={key}-title")
        self._words = ui.element("div").props(f"id={key}-plan")
        self._why = ui.textarea("Why? It goes to the audit log.").props(
            f"outlined autogrow autofocus counter maxlength={LONGEST_REASON} id={key}-reason"
        )
        self._problem = Text("p", "", "problem").props(f"role=alert id={key}-problem")
        self._problem.set_visibility(False)
        self._result = ui.element("div").props(f"role=status aria-live=polite id={key}-result")
        with ui.element("div").classes("actions"):
            self._confirm = ui.button(TITLES[way], on_click=self._go_back)
            self._confirm.props(f"no-caps color=negative id={key}-confirm")
            self._again = ui.button("Read the flags again", on_click=self._read).props(
                f"no-caps outline id={key}-again"
            )
            self._close = ui.button("Cancel", on_click=self._dialog.close).props(f"no-caps flat id={key}-close")

    async def open(self) -> None:
        """Reads what would happen and shows it."""
        self._done = None
        self._result.clear()
        self._why.set_visibility(True)
        self._close.set_text("Cancel")
        self._dialog.open()
        await self._read()

    def show_obedience(self, writers: Sequence[Writer] | None) -> None:
        """After the deed: how many live processes obey by now."""
        if self._done is None or writers is None:
            return
        version = self._done.after.version
        late = [one.process for one in writers if one.flag_version < version]
        words = f"{len(writers) - len(late)} of {len(writers)} live processes obey version {version}."
        self._obedience.set_text(f"{words} Not yet: {', '.join(late)}." if late else words)

    async def _read(self) -> None:
        self._confirm.disable()
        try:
            self._plan = await self._actions.plan(self._way)
        except KnowledgeError as error:
            self._plan = None
            self._words.clear()
            self._fail(str(error))
            return
        self._problem.set_visibility(False)
        self._again.set_visibility(False)
        self._words.clear()
        with self._words:
            self._explain(self._plan)
        self._confirm.set_visibility(True)
        self._confirm.enable()

    def _explain(self, plan: RollbackPlan) -> None:
        Text("p", MEANINGS[self._way])
        if plan.changes:
            _changes(plan)
        else:
            Text("p", "The flags are so already; nothing of them would change.", "doubt")
        with ui.element("ul"):
            for words in self._promises(plan):
                Text("li", words)

    def _promises(self, plan: RollbackPlan) -> list[str]:
        live = len(plan.processes)
        told = [
            f"{live} live process{'' if live == 1 else 'es'} obey{'s' if live == 1 else ''} within 2 seconds; no restart."
        ]
        if plan.stranded.total and not plan.after.enabled:
            reaching = sum(plan.stranded.replayable.values())
            threshold = self._actions.service.options.direct_threshold
            told.append(
                f"{plan.stranded.total:,} proposals that wait would be stranded: {reaching:,} have a confidence of "
                f"{threshold:g} or more and are replayed, so that they become knowledge as direct writes would; the rest is "
                "parked: out of the queue, still on record."
            )
        else:
            told.append("No proposal that waits is stranded by it.")
        told.append("Nothing of users' data is lost, and proposals can be switched on again.")
        return told

    async def _go_back(self) -> None:
        if self._plan is None:
            return
        self._confirm.disable()
        try:
            version = self._plan.before.version
            done = await self._actions.roll_back_flags(
                self._way, reason=self._why.value or "", expected_version=version
            )
        except KnowledgeError as error:
            self._fail(str(error))
            self._confirm.enable()
            return
        self._show_result(done)

    def _show_result(self, done: FlagRollbackResult) -> None:
        self._done = done
        self._problem.set_visibility(False)
        self._why.value = ""
        for element in (self._why, self._confirm, self._again):
            element.set_visibility(False)
        self._words.clear()
        self._close.set_text("Close")
        with self._result:
            Text("p", f"Done. The flags have version {done.after.version} now: {named(done.after.state)}.")
            self._obedience = Text("p", "The live processes are asked whether they obey.").props(
                f"id=rollback-{self._way}-obedience"
            )
            Text("p", _stranded(done))

    def _fail(self, words: str) -> None:
        self._problem.set_text(words)
        self._problem.set_visibility(True)
        self._again.set_visibility(True)


def _changes(plan: RollbackPlan) -> None:
    """The flags that change, now and after."""
    with ui.element("table").classes("facts"):
        Text("caption", f"Flags of version {plan.before.version}: now and after", "visually-hidden")
        with ui.element("thead"), ui.element("tr"):
            for name in ("Flag", "Now", "After"):
                Text("th", name).props("scope=col")
        with ui.element("tbody"):
            for flag, after in plan.changes.items():
                with ui.element("tr"):
                    Text("th", named(flag)).props("scope=row")
                    Text("td", json.dumps(plan.before.values[flag]))
                    Text("td", json.dumps(after))


def _stranded(done: FlagRollbackResult) -> str:
    if done.stranded is None:
        return "What was stranded could not be counted; it is replayed or parked in the background."
    if not done.stranded:
        return "No proposal was stranded."
    return f"{done.stranded:,} stranded proposals are being replayed or parked now; the audit trail tells of each."
