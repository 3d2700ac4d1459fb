"""All parts of the migration page, and which look each of them shows."""

from collections.abc import Mapping

from nicegui import ui

from knowledge_migration.engine.status.audit_trail import Page
from knowledge_migration.engine.status.controls import ControlSnapshot
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.migration import rows
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.backfill_view import BackfillView
from knowledge_migration.pages.migration.feed import Seen
from knowledge_migration.pages.migration.flags_view import FlagsShown, draw_flags
from knowledge_migration.pages.migration.freshness import Freshness
from knowledge_migration.pages.migration.parts import Redrawn, Table, region
from knowledge_migration.pages.migration.phase_line import PhaseLine
from knowledge_migration.pages.migration.rollback_dialog import TITLES, RollbackDialog
from knowledge_migration.pages.migration.source import MigrationSource
from knowledge_migration.pages.migration.trail_view import TrailView


class MigrationView:
    """The elements of one browser's page."""

    def __init__(self, actions: Actions, source: MigrationSource) -> None:
        self._actions, self._source = actions, source
        self._client = ui.context.client
        self._whole: StatusSnapshot | None = None
        self._quick: ControlSnapshot | None = None
        with ui.element("div").classes("migration"):
            self._build()

    def _build(self) -> None:
        with ui.element("div").classes("page-head"):
            Text("h1", "Migration")
            Text("span", self._source.database.display, "muted").props("id=database")
        self._freshness = Freshness()
        with region("attention", "What needs attention", wide=True):
            self._said = Text("p", "", "visually-hidden").props("role=status")
            self._attention: Redrawn[tuple[str, ...]] = Redrawn(_draw_attention)
        with region("phases", "Phases", wide=True):
            self._phases = PhaseLine()
        with ui.element("div").classes("parts"):
            with region("flags", "Flags and stage"):
                self._flags: Redrawn[FlagsShown] = Redrawn(draw_flags)
                self._build_rollback()
            with region("backfill", "Backfill"):
                self._backfill = BackfillView(self._actions, self._source.limits)
            with region("queue", "Review queue"):
                self._full = Text("p", "").props("id=queue-limit")
                self._queue = Table("Review queue", rows.QUEUE, nothing="There is no review queue yet.")
            with region("processes", "Live processes of the service"):
                self._processes = Table("Live processes", rows.PROCESSES, nothing="No process reports.")
            with region("gates", "Gates", wide=True):
                self._gates = Table("Gates", rows.GATES, nothing="No gates yet: nobody has set the flags.", broad=True)
            with region("checks", "Last checks", wide=True):
                self._checked = Text("p", "").props("id=checks-summary")
                self._checks = Table("Last checks", rows.CHECKS, nothing="", tall=True, broad=True)
            with region("proofs", "Proofs and their age", wide=True):
                self._proofs = Table("Proofs", rows.PROOFS, nothing="Nothing was proven yet.", broad=True)
            with region("audit", "Audit trail", wide=True):
                self._trail = TrailView(self._older)

    def _build_rollback(self) -> None:
        self._dialogs: list[RollbackDialog] = []
        self._ways = (
            ui.element("div").classes("actions").props('id=ways-back role=group aria-label="Ways back by flags"')
        )
        self._ways.set_visibility(False)
        if not self._actions.are_offered:
            return
        with self._ways:
            for way, title in TITLES.items():
                dialog = RollbackDialog(self._actions, way)
                self._dialogs.append(dialog)
                ui.button(f"{title}…", on_click=dialog.open).props(f"no-caps outline color=negative id=open-{way}")

    def show_whole(self, seen: Seen[StatusSnapshot]) -> None:
        """After a whole look, also one that failed."""
        self._freshness.show("Phases, gates, queue, checks and proofs", seen)
        found = seen.found
        if found is None or found == self._whole:
            return
        self._whole = found
        why = dict(found.unreadable)
        self._attention.show(found.attention)
        self._said.set_text(_counted(len(found.attention)))
        self._phases.show(found.phases)
        self._gates.show(rows.gates(found), _unreadable(why, "gates"))
        self._queue.show(rows.queue(found), _unreadable(why, "queue"))
        self._full.set_text(_queue_words(found))
        self._checked.set_text(rows.checks_summary(found))
        self._checks.show(rows.checks(found))
        self._proofs.show(rows.proofs(found), _unreadable(why, "proofs"))
        self._show_flags()

    def show_quick(self, seen: Seen[ControlSnapshot]) -> None:
        """After a quick look, also one that failed."""
        self._freshness.show("Flags, processes, controls and audit trail", seen)
        found = seen.found
        if found is None or found == self._quick:
            return
        self._quick = found
        why = dict(found.unreadable)
        self._show_flags()
        self._processes.show(rows.processes(found), _unreadable(why, "processes"))
        self._backfill.show(found.control, why.get("backfill"))
        self._trail.show(found.trail, why.get("audit trail"))
        for dialog in self._dialogs:
            dialog.show_acknowledgements(found.writers)

    def end(self) -> None:
        """Says that the page shows nothing new any more, because the session has ended."""
        self._freshness.end("Your session has ended. Load this page again to sign in.")

    def set_clock(self) -> None:
        """Tells the browser what time it is at the database."""
        moment = self._quick.at if self._quick else None
        if moment:
            self._client.run_javascript(f'ages.set("{moment.isoformat()}")')

    def _show_flags(self) -> None:
        quick, whole = self._quick, self._whole
        if quick is None:
            return
        problem = dict(quick.unreadable).get("flags")
        stage = (whole.stage, whole.stage_since, whole.next_stage) if whole else (None, None, None)
        self._flags.show(FlagsShown(quick.flags, *stage, problem))
        self._ways.set_visibility(self._actions.are_offered and (quick.flags is not None or problem is not None))

    async def _older(self, key: int, with_decisions: bool) -> Page:
        return await self._actions.older_entries(key, with_decisions=with_decisions)


def _draw_attention(found: tuple[str, ...]) -> None:
    if not found:
        Text("p", "✓ Nothing needs attention.", "all-well")
        return
    with ui.element("ul").classes("attention-list"):
        for words in found:
            Text("li", words)


def _counted(things: int) -> str:
    """For screen readers: that there is more or less to look at, not every number that changes in it."""
    return f"{things} thing{'' if things == 1 else 's'} need{'s' if things == 1 else ''} attention" if things else ""


def _queue_words(found: StatusSnapshot) -> str:
    if not found.queues:
        return ""
    pending = sum(queue.pending for queue in found.queues)
    full = " It is full: extractions in proposal mode are refused." if pending >= found.queue_limit else ""
    return f"{pending:,} of at most {found.queue_limit:,} wait.{full}"


def _unreadable(why: Mapping[str, str], part: str) -> str | None:
    return f"Cannot be read: {why[part]}." if part in why else None
