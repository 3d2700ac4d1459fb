"""The backfill's controls: the current values, and for an admin a form to pause it or change its pace."""

from nicegui import ui

from knowledge_migration.engine.backfill.control import LARGEST_BATCH, Control, rate_text, size_text
from knowledge_migration.engine.status.model import ControlState
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.widgets import Ago
from knowledge_migration.settings import BackfillSettings


class BackfillControls:
    """The controls change in place; typed text stays."""

    def __init__(self, actions: Actions, limits: BackfillSettings) -> None:
        self._actions, self._limits = actions, limits
        self._control: ControlState | None = None
        self._current = Text("p", "").props("id=backfill-now")
        with ui.element("p").classes("muted") as self._change:
            self._by = Text("span", "")
            self._at = Ago(None, "")
        self._form: ui.element | None = None
        if actions.are_offered:
            self._build_form()

    def _build_form(self) -> None:
        with ui.element("div").classes("control-form") as self._form:
            self._pause = ui.button("Pause", on_click=self._toggle).props("no-caps outline id=backfill-pause")
            with ui.element("div").classes("pace"):
                size = f"Rows per batch (1 to {LARGEST_BATCH:,})"
                self._size = ui.number(size).props("outlined dense id=backfill-size")
                rate = "Batches per second (0: no limit)"
                self._rate = ui.number(rate).props("outlined dense step=any id=backfill-rate")
                self._reason = ui.input("Reason (optional)").props("outlined dense maxlength=2000 id=backfill-reason")
                self._set = ui.button("Set", on_click=self._set_pace).props("no-caps id=backfill-set")
            self._result = Text("p", "", "status-line").props("role=status aria-live=polite id=backfill-result")
            self._problem = Text("p", "", "problem").props("role=alert id=backfill-problem")
            self._problem.set_visibility(False)

    def show(self, control: ControlState | None, problem: str | None) -> None:
        """The newest reading; None before phase 0, or with the `problem` why it cannot be read."""
        if self._form:
            self._form.set_visibility(control is not None)
        self._change.set_visibility(control is not None)
        if control is None:
            self._current.set_text(
                f"The controls cannot be read: {problem}" if problem else "There are no controls yet: run phase 0."
            )
            return
        if control == self._control:
            return
        self._control = control
        self._current.set_text(self._sentence(control))
        self._by.set_text(f"Set by {control.changed_by}, ")
        self._at.show(control.changed_at)
        if self._form:
            self._pause.set_text("Resume" if control.paused else "Pause")

    def _sentence(self, control: Control | ControlState) -> str:
        size = size_text(self._limits, control.batch_size) + ("" if control.batch_size else " (default)")
        rate = rate_text(self._limits, control.rate_limit_per_second)
        default = " (default)" if control.rate_limit_per_second is None else ""
        return f"{'Paused' if control.paused else 'Not paused'}; {size}, {rate}{default}."

    async def _toggle(self) -> None:
        assert self._control is not None
        await self._apply(paused=not self._control.paused)

    async def _set_pace(self) -> None:
        if self._size.value is None and self._rate.value is None:
            self._fail("Enter the rows per batch or the batches per second.")
            return
        if await self._apply(batch_size=self._size.value, rate=self._rate.value):
            self._size.value = self._rate.value = None

    async def _apply(
        self, *, paused: bool | None = None, batch_size: float | None = None, rate: float | None = None
    ) -> bool:
        buttons = (self._pause, self._set)
        for button in buttons:
            button.disable()
        try:
            control = await self._actions.control_backfill(
                paused=paused, batch_size=batch_size, rate=rate, reason=self._reason.value or ""
            )
        except KnowledgeError as error:
            self._fail(str(error))
            return False
        finally:
            for button in buttons:
                button.enable()
        self._problem.set_visibility(False)
        self._reason.value = ""
        self._result.set_text(f"Done. {self._sentence(control)} A running backfill applies it within one second.")
        return True

    def _fail(self, message: str) -> None:
        self._result.set_text("")
        self._problem.set_text(message)
        self._problem.set_visibility(True)
