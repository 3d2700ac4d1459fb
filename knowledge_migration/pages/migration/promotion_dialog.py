"""The dialogs of a promotion (its requirements, its reason, its launch) and of a pause of the rollout (strategy §6)."""

from nicegui import ui

from knowledge_migration.engine.cutover.readiness import Readiness
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.values import LONGEST_REASON
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.pipeline import AUDIENCES
from knowledge_migration.pages.migration.widgets import label
from knowledge_migration.thresholds import Stage

RUNNING = (
    "The job evaluates the gates and all rules again, then sets the flags. You may close this dialog; the page shows the new "
    "stage when it is reached."
)


class PromotionDialog:
    """Built once; keeps the typed reason until the promotion is done."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._stage: Stage | None = None
        with (
            ui.dialog().props("aria-labelledby=promote-title") as self._dialog,
            ui.card().classes("rollback").props("id=promote"),
        ):
            self._build()

    def _build(self) -> None:
        self._title = Text("h2", "Promote").props("id=promote-title")
        self._plan = ui.element("div").props("id=promote-plan")
        self._reason = ui.textarea("Reason (recorded in the audit log)").props(
            f"outlined autogrow counter maxlength={LONGEST_REASON} id=promote-reason"
        )
        self._problem = Text("p", "", "problem pre").props("role=alert id=promote-problem")
        self._result = Text("p", "").props("role=status aria-live=polite id=promote-result")
        with ui.element("div").classes("actions"):
            self._confirm = ui.button("Promote", on_click=self._promote).props("no-caps id=promote-confirm")
            self._again = ui.button("Check again", on_click=self._read).props("no-caps outline id=promote-again")
            ui.button("Close", on_click=self._dialog.close).props("no-caps flat id=promote-close")

    async def open(self, stage: Stage) -> None:
        """Reads the requirements of a stage and shows them."""
        self._stage = stage
        self._title.set_text(f"Promote to {label(stage)}: {AUDIENCES[stage]}")
        self._dialog.open()
        await self._read()

    async def _read(self) -> None:
        assert self._stage is not None
        self._confirm.disable()
        self._fail(None)
        self._plan.clear()
        self._result.set_text("Evaluating the gates and requirements…")
        try:
            ready = await self._actions.requirements(self._stage)
        except KnowledgeError as error:
            self._result.set_text("")
            self._fail(str(error))
            return
        self._result.set_text("")
        with self._plan:
            _explain(ready)
        self._confirm.set_enabled(ready.ready)
        self._reason.set_visibility(ready.ready)

    async def _promote(self) -> None:
        assert self._stage is not None
        self._confirm.disable()
        self._fail(None)
        self._result.set_text(RUNNING)
        try:
            await self._actions.promote(self._stage, self._reason.value or "")
        except KnowledgeError as error:
            self._result.set_text("")
            self._fail(str(error))
            self._confirm.enable()
            return
        self._reason.value = ""
        self._reason.set_visibility(False)
        self._plan.clear()
        self._result.set_text(f"Promoted to {label(self._stage)}.")

    def _fail(self, message: str | None) -> None:
        self._problem.set_text(message or "")
        self._problem.set_visibility(bool(message))


class PauseDialog:
    """Asks for the reason of a pause of the rollout, or of its end."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions
        self._pauses = True
        with (
            ui.dialog().props("aria-labelledby=pause-title") as self._dialog,
            ui.card().classes("rollback").props("id=pause"),
        ):
            self._title = Text("h2", "").props("id=pause-title")
            Text("p", "While it is paused, no command, job or sensor promotes. Rollbacks work as always.")
            self._reason = ui.input("Reason (recorded in the audit log)").classes("wide")
            self._reason.props(f"outlined dense autofocus maxlength={LONGEST_REASON} id=pause-reason")
            self._problem = Text("p", "", "problem").props("role=alert id=pause-problem")
            with ui.element("div").classes("actions"):
                self._confirm = ui.button("", on_click=self._change).props("no-caps id=pause-confirm")
                ui.button("Cancel", on_click=self._dialog.close).props("no-caps flat id=pause-close")

    def open(self, *, pauses: bool) -> None:
        """Pauses, or resumes."""
        self._pauses = pauses
        title = "Pause the rollout" if pauses else "Resume the rollout"
        self._title.set_text(title)
        self._confirm.set_text(title)
        self._problem.set_visibility(False)
        self._dialog.open()

    async def _change(self) -> None:
        self._confirm.disable()
        try:
            await self._actions.pause_rollout(paused=self._pauses, reason=self._reason.value or "")
        except KnowledgeError as error:
            self._problem.set_text(str(error))
            self._problem.set_visibility(True)
            return
        finally:
            self._confirm.enable()
        self._reason.value = ""
        self._dialog.close()


def _explain(ready: Readiness) -> None:
    """The number of requirements, and each that is missing with its remedy."""
    count = len(ready.requirements)
    if ready.ready:
        Text("p", f"All {count} requirements are met. A rollback undoes the promotion within seconds.", "all-clear")
        return
    Text("p", f"{len(ready.missing)} of {count} requirements are missing:")
    with ui.element("ul").classes("missing"):
        for requirement in ready.missing:
            with ui.element("li"):
                Text("strong", label(requirement.name))
                message = requirement.message.removeprefix(f"{requirement.name.removeprefix('gate ')}: ")
                Text("span", f" {message} {requirement.remedy}".rstrip())
