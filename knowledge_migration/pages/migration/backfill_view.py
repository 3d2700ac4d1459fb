"""The backfill's controls: what it obeys, and for an admin how to pause it or change its pace."""

from nicegui import ui

from knowledge_migration.engine.backfill.control import LARGEST_BATCH, Limits
from knowledge_migration.engine.status.controls import ControlState
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.parts import Ago


class BackfillView:
    """The controls change in place: what somebody types stays."""

    def __init__(self, actions: Actions, limits: Limits) -> None:
        self._actions, self._limits = actions, limits
        self._control: ControlState | None = None
        self._now = Text("p", "").props("id=backfill-now")
        with ui.element("p").classes("muted") as self._who:
            self._by = Text("span", "")
            self._at = Ago(None, "")
        self._form: ui.element | None = None
        if actions.are_offered:
            self._build_form()

    def _build_form(self) -> None:
        with ui.element("div").classes("control-form") as self._form:
            self._pause = ui.button("Pause", on_click=self._turn).props("no-caps outline id=backfill-pause")
            with ui.element("div").classes("pace"):
                self._size = ui.number(f"Rows in a batch (1 to {LARGEST_BATCH:,})").props(
                    "outlined dense id=backfill-size"
                )
                self._rate = ui.number("Batches per second (0: no limit)").props(
                    "outlined dense step=any id=backfill-rate"
                )
                self._why = ui.input("Why (may be empty)").props("outlined dense maxlength=2000 id=backfill-reason")
                self._set = ui.button("Set", on_click=self._change).props("no-caps id=backfill-set")
            self._said = Text("p", "", "status-line").props("role=status aria-live=polite id=backfill-said")
            self._problem = Text("p", "", "problem").props("role=alert id=backfill-problem")
            self._problem.set_visibility(False)

    def show(self, control: ControlState | None, problem: str | None) -> None:
        """What the newest look found; None before phase 1, or with a `problem` where it may not be read."""
        if self._form:
            self._form.set_visibility(control is not None)
        self._who.set_visibility(control is not None)
        if control is None:
            words = f"The controls cannot be read: {problem}" if problem else "There are no controls yet: run phase 0."
            self._now.set_text(words)
            return
        if control == self._control:
            return
        self._control = control
        self._now.set_text(self._words(control.paused, control.batch_size, control.rate_limit_per_second))
        self._by.set_text(f"Set by {control.changed_by}, ")
        self._at.show(control.changed_at)
        if self._form:
            self._pause.set_text("Resume" if control.paused else "Pause")

    def _words(self, paused: bool, size: int | None, rate: float | None) -> str:
        rows = f"{size or self._limits.batch_size:,} rows in a batch{'' if size else ' (as the settings say)'}"
        speed = self._limits.rate_limit_per_second if rate is None else rate
        pace = f"{speed:g} batches per second" if speed else "no limit of the rate"
        by_settings = " (as the settings say)" if rate is None else ""
        return f"{'Paused' if paused else 'Not paused'}; {rows}, {pace}{by_settings}."

    async def _turn(self) -> None:
        assert self._control is not None
        await self._act(paused=not self._control.paused)

    async def _change(self) -> None:
        if self._size.value is None and self._rate.value is None:
            self._fail("Say how many rows a batch has, or how many batches there are per second.")
            return
        if await self._act(batch_size=self._size.value, rate=self._rate.value):
            self._size.value = self._rate.value = None

    async def _act(
        self, *, paused: bool | None = None, batch_size: float | None = None, rate: float | None = None
    ) -> bool:
        buttons = (self._pause, self._set)
        for button in buttons:
            button.disable()
        try:
            now = await self._actions.control_backfill(
                paused=paused, batch_size=batch_size, rate=rate, reason=self._why.value or ""
            )
        except KnowledgeError as error:
            self._fail(str(error))
            return False
        finally:
            for button in buttons:
                button.enable()
        self._problem.set_visibility(False)
        self._why.value = ""
        words = self._words(now.paused, now.batch_size, now.rate_limit_per_second)
        self._said.set_text(f"Done. {words} A running backfill obeys within a second.")
        return True

    def _fail(self, words: str) -> None:
        self._said.set_text("")
        self._problem.set_text(words)
        self._problem.set_visibility(True)
