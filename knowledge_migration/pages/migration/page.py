"""`/migration`: the live state of the migration, and the actions of an admin (strategy §2.2)."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from nicegui import APIRouter, Client, ui

from knowledge_migration.engine.status.audit_trail import Page
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.frame import Context, frame, session_of_page
from knowledge_migration.pages.migration import charts, sections
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.audit_table import AuditTable
from knowledge_migration.pages.migration.backfill_controls import BackfillControls
from knowledge_migration.pages.migration.feed import Feed, Latest, MigrationSource
from knowledge_migration.pages.migration.pipeline import Pipeline, draw_pipeline, pipeline_of
from knowledge_migration.pages.migration.promotion_dialog import PauseDialog, PromotionDialog
from knowledge_migration.pages.migration.rollback_dialog import TITLES, RollbackDialog
from knowledge_migration.pages.migration.speed_curve import SpeedCurve
from knowledge_migration.pages.migration.widgets import Freshness, Redrawn, Table, label, region
from knowledge_migration.pages.session import Session
from knowledge_migration.thresholds import STAGES

PATH = "/migration"
FIRST_READING_SECONDS = 1.5
TRENDS_PAUSE_SECONDS = 10.0
"""Each value covers a minute."""


@dataclass(frozen=True)
class Feeds:
    """Shared by all pages of a process: the overview, the controls, which are quick and show an action at once, the trends."""

    overview: Feed[StatusSnapshot]
    controls: Feed[StatusSnapshot]
    trends: Feed[StatusSnapshot]

    def refresh(self) -> None:
        """After a change."""
        self.controls.refresh()
        self.overview.refresh()


def install(context: Context, source: MigrationSource, router: APIRouter) -> None:
    """Serves the page."""
    feeds = Feeds(
        Feed(source.read_overview),
        Feed(source.read_controls),
        Feed(source.read_trends, pause_seconds=TRENDS_PAUSE_SECONDS),
    )

    @ui.page(PATH, title="Migration", api_router=router, language="en-US", response_timeout=20)
    async def migration_page(request: Request, client: Client) -> None:
        actions = Actions(context.service, source, session_of_page(request), feeds.refresh)
        ui.add_head_html(f'<link rel="stylesheet" href="{context.assets}/migration.css">')
        ui.add_head_html(f'<script src="{context.assets}/migration.js"></script>')
        with frame(context, request, PATH):
            view = MigrationView(actions, source)
        view.show_overview(feeds.overview.latest)
        view.show_controls(feeds.controls.latest)
        view.show_trends(feeds.trends.latest)
        stops = (
            feeds.overview.watch(view.show_overview),
            feeds.controls.watch(view.show_controls),
            feeds.trends.watch(view.show_trends),
        )

        def end() -> None:
            for stop in stops:
                stop()

        client.on_delete(end)
        _end_with_session(actions.session, view, end)
        client.on_connect(view.set_clock)
        await asyncio.gather(
            *(feed.first_reading(FIRST_READING_SECONDS) for feed in (feeds.overview, feeds.controls, feeds.trends))
        )


def _end_with_session(session: Session, view: "MigrationView", end: Callable[[], None]) -> None:
    """Without a session the page is not updated any more."""

    def expire() -> None:
        end()
        view.end()

    if session.expires_at is not None:
        ui.timer(max(session.expires_at - time.time(), 0), expire, once=True)


class MigrationView:
    """The elements of one browser's page."""

    def __init__(self, actions: Actions, source: MigrationSource) -> None:
        self._actions, self._source = actions, source
        self._client = ui.context.client
        self._overview: StatusSnapshot | None = None
        self._controls: StatusSnapshot | None = None
        self._unread: defaultdict[str, list[ui.element]] = defaultdict(list)
        with ui.element("div").classes("migration"):
            self._build()

    def _region(self, feed: str, key: str, title: str, *, wide: bool = False) -> ui.element:
        """A part that is hidden until its feed has been read: an empty table would say that there is nothing."""
        part = region(key, title, wide=wide)
        part.set_visibility(False)
        self._unread[feed].append(part)
        return part

    def _show_parts(self, feed: str) -> None:
        for part in self._unread.pop(feed, ()):
            part.set_visibility(True)

    def _build(self) -> None:
        with ui.element("div").classes("page-head"):
            Text("h1", "Migration")
            Text("span", self._source.database.display, "muted").props("id=database")
            self._freshness = Freshness()
        with self._region("overview", "attention", "Needs attention", wide=True):
            self._announcement = Text("p", "", "visually-hidden").props("role=status")
            self._attention: Redrawn[tuple[str, ...]] = Redrawn(sections.draw_attention)
        with self._region("overview", "phases", "Phases and stages", wide=True):
            self._pipeline: Redrawn[Pipeline] = Redrawn(draw_pipeline)
            self._build_rollbacks()
        with self._region("trends", "trends", "Last hour", wide=True):
            self._trends: Redrawn[StatusSnapshot] = Redrawn(charts.draw_trends, charts.trends_key)
        with ui.element("div").classes("parts"):
            with self._region("controls", "flags", "Flags and stage"):
                self._flags: Redrawn[StatusSnapshot] = Redrawn(sections.draw_flags, sections.flags_key)
            with self._region("controls", "backfill", "Backfill"):
                self._backfill = BackfillControls(self._actions, self._source.settings.backfill)
                self._speed = SpeedCurve()
            with ui.element("div").classes("stacked"):
                with self._region("overview", "queue", "Review queue"):
                    self._queue_summary = Text("p", "").props("id=queue-limit")
                    self._queue = Table("Review queue", sections.QUEUE, empty="The review queue requires phase 1.")
                with self._region("controls", "processes", "Live processes of the service"):
                    self._processes = Table("Live processes", sections.PROCESSES, empty="No process reports.")
            with self._region("overview", "gates", "Gates", wide=True):
                self._gates = Table("Gates", sections.GATES, empty="No gates yet: the flags are not set.", broad=True)
            with self._region("overview", "checks", "Check records", wide=True):
                self._checks_summary = Text("p", "").props("id=checks-summary")
                self._checks = Table("Check records", sections.CHECKS, empty="", tall=True, broad=True)
            with self._region("overview", "evidence", "Evidence", wide=True):
                self._evidence = Table("Evidence", sections.EVIDENCE, empty="No evidence yet.", broad=True)
            with self._region("controls", "audit", "Audit trail", wide=True):
                self._trail = AuditTable(self._older, self._source.dagster_ui)

    def _build_rollbacks(self) -> None:
        self._dialogs: list[RollbackDialog] = []
        self._rollbacks = (
            ui.element("div").classes("actions").props('id=rollbacks role=group aria-label="Promotion and rollback"')
        )
        self._rollbacks.set_visibility(False)
        if not self._actions.are_offered:
            return
        with self._rollbacks:
            self._promotion = PromotionDialog(self._actions)
            self._promote = ui.button("Promote…", on_click=self._open_promotion).props(
                "no-caps unelevated id=open-promote"
            )
            self._pause_dialog = PauseDialog(self._actions)
            self._pause = ui.button("Pause the rollout…", on_click=self._open_pause).props(
                "no-caps outline id=open-pause"
            )
            for kind, title in TITLES.items():
                dialog = RollbackDialog(self._actions, kind)
                self._dialogs.append(dialog)
                ui.button(f"{title}…", on_click=dialog.open).props(f"no-caps outline color=negative id=open-{kind}")

    def show_overview(self, latest: Latest[StatusSnapshot]) -> None:
        """After each reading of the overview, also after one that failed."""
        self._freshness.show("Phases, gates, queue, checks and evidence", latest)
        snapshot = latest.value
        if snapshot is None or snapshot == self._overview:
            return
        self._overview = snapshot
        self._show_parts("overview")
        problems = snapshot.unreadable
        self._attention.show(snapshot.attention)
        self._announcement.set_text(_announcement(len(snapshot.attention)))
        self._pipeline.show(pipeline_of(snapshot, self._source.settings.cutover))
        self._gates.show(sections.gates(snapshot), problems.get("gates"))
        self._queue.show(sections.queue(snapshot), problems.get("queue"))
        self._queue_summary.set_text(sections.queue_summary(snapshot))
        self._checks_summary.set_text(sections.checks_summary(snapshot))
        self._checks.show(sections.checks(snapshot))
        self._evidence.show(sections.evidence(snapshot), problems.get("evidence"))

    def show_controls(self, latest: Latest[StatusSnapshot]) -> None:
        """After each reading of the controls, also after one that failed."""
        self._freshness.show("Flags, processes, controls and audit trail", latest)
        snapshot = latest.value
        if snapshot is None or snapshot == self._controls:
            return
        self._controls = snapshot
        self._show_parts("controls")
        problems = snapshot.unreadable
        self._flags.show(snapshot)
        self._rollbacks.set_visibility(
            self._actions.are_offered and (snapshot.flags is not None or "flags" in problems)
        )
        self._show_promotion(snapshot)
        self._processes.show(sections.processes(snapshot), problems.get("processes"))
        self._backfill.show(snapshot.control, problems.get("backfill"))
        self._speed.show(snapshot.speed)
        self._trail.show(snapshot.trail, problems.get("audit trail"))
        for dialog in self._dialogs:
            dialog.show_acknowledgements(None if "processes" in problems else snapshot.writers)

    def _show_promotion(self, snapshot: StatusSnapshot) -> None:
        """The buttons name the next stage, and what a pause would change."""
        if not self._actions.are_offered:
            return
        self._next_stage = next((one for one in STAGES if one == snapshot.next_stage), None)
        self._promote.set_visibility(self._next_stage is not None and self._source.promote is not None)
        self._promote.set_text(f"Promote to {label(snapshot.next_stage or '')}…")
        self._is_paused = snapshot.pause is not None
        self._pause.set_visibility(self._next_stage is not None or self._is_paused)
        self._pause.set_text("Resume the rollout…" if self._is_paused else "Pause the rollout…")

    def _open_pause(self) -> None:
        self._pause_dialog.open(pauses=not self._is_paused)

    async def _open_promotion(self) -> None:
        if self._next_stage:
            await self._promotion.open(self._next_stage)

    def show_trends(self, latest: Latest[StatusSnapshot]) -> None:
        """After each reading of the trends, also after one that failed."""
        self._freshness.show("Charts", latest)
        if latest.value is not None:
            self._show_parts("trends")
            self._trends.show(latest.value)

    def end(self) -> None:
        """Says that the page is not updated any more, because the session has ended."""
        self._freshness.end("Your session has ended. Reload this page to sign in.")

    def set_clock(self) -> None:
        """Passes the database's time to the browser."""
        if self._controls:
            self._client.run_javascript(f'ages.set("{self._controls.at.isoformat()}")')

    async def _older(self, key: int, with_decisions: bool) -> Page:
        return await self._actions.older_entries(key, with_decisions=with_decisions)


def _announcement(count: int) -> str:
    """For screen readers: how many things need attention, not every number that changes in them."""
    return f"{count} thing{'' if count == 1 else 's'} need{'s' if count == 1 else ''} attention" if count else ""
