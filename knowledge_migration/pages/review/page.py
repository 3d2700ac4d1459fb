"""`/review`: list, open proposal, history and keys of one reviewer (strategy §10.3, §11.1)."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from fastapi import Request
from nicegui import APIRouter, background_tasks, events, ui
from nicegui.client import ClientConnectionTimeout

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.pages.elements import Text, icon_button, named, until_deleted
from knowledge_migration.pages.frame import Context, Preferences, frame, session_of_page
from knowledge_migration.pages.review.bulk import BulkBar
from knowledge_migration.pages.review.card import Card
from knowledge_migration.pages.review.filters import FilterBar, Filters, read_filters
from knowledge_migration.pages.review.guide import Tour, explain
from knowledge_migration.pages.review.history_view import HistoryView
from knowledge_migration.pages.review.labels import KEYS, SHOWN, decision_sentence
from knowledge_migration.pages.review.queue_view import QueueView
from knowledge_migration.pages.review.review_session import Outcome, ReviewSession, is_decidable

log = logging.getLogger(__name__)

PATH = "/review"
POLL_SECONDS = 3.0
COUNT_EVERY = 5
"""The queue is counted at every fifth poll."""


def install(context: Context, router: APIRouter) -> None:
    """Serves the page."""

    @ui.page(PATH, title="Review", api_router=router, language="en-US", response_timeout=20)
    async def review_page(request: Request) -> None:
        review = ReviewSession(context.service, session_of_page(request), read_filters(request.query_params))
        page = ReviewPage(review)
        with frame(context, request, PATH, tools=page.tools) as preferences:
            page.build(preferences)
        await page.begin(request.query_params.get("proposal", ""))


class ReviewPage:
    """The elements of one reviewer's page, and the handlers of its keys and buttons."""

    def __init__(self, review: ReviewSession) -> None:
        self.review = review
        self._polls = 0

    def tools(self) -> None:
        """Adds the page's own buttons to the header."""
        icon_button("explore", "Tour (T)", self._begin_tour)
        icon_button("help_outline", "Keys and confidence (?)", self._explain)

    def build(self, preferences: Preferences) -> None:
        """Adds all elements, without data."""
        self.preferences = preferences
        Text("h1", "Review proposals", "visually-hidden")
        with ui.tabs().props("dense no-caps align=left inline-label").classes("tabs") as self._tabs:
            ui.tab("queue", label="Queue", icon="inbox")
            ui.tab("history", label="History", icon="history").props(f"aria-keyshortcuts={SHOWN['h']}")
        with ui.tab_panels(self._tabs, value="queue", animated=False, keep_alive=True).classes("panels"):
            with ui.tab_panel("queue").classes("review-grid"):
                with ui.element("div").classes("side").props("id=queue"):
                    closer = ui.button(icon="close", color=None).props("flat round dense").classes("close-drawer")
                    named(closer, "Close the queue").on("click", js_handler="() => pages.drawer(false)")
                    self.filters = FilterBar(self.review.filters, self._filter)
                    self.queue = QueueView(self.review, self.open, self._load_more)
                    self.bulk = BulkBar(self.review, self.queue, self._bulk_decided)
                with ui.element("div").classes("main-side"):
                    with ui.element("div").classes("main-tools"):
                        self._add_drawer_button()
                        self._status = Text("p", "", "status-line").props("role=status aria-live=polite")
                    self.card = Card(self.review, self._proposal_left)
            with ui.tab_panel("history"):
                self.history = HistoryView(self.review, self._undo_one, self._open_from_history)
        self._tabs.on_value_change(self._tab_changed)
        self._dialogs = ui.element("div")
        self.tour = Tour(self._tour_ended)
        ui.on("pages_key", self._key)

    def _add_drawer_button(self) -> None:
        """The button that opens the list as a drawer; displayed on narrow screens only."""
        opener = ui.button(icon="menu", color=None).props(
            "outline dense no-caps aria-controls=queue aria-expanded=false"
        )
        opener.props('id=open-queue data-explains="queue"').on("click", js_handler="() => pages.drawer(true)")
        with opener:
            Text("span", "Queue")

    async def begin(self, proposal_id: str) -> None:
        """Loads the queue before the page is sent, and everything else after the browser has connected."""
        await self._reload(_uuid(proposal_id))
        ui.timer(POLL_SECONDS, self._poll, immediate=False)
        self._in_background(self._connected(), "review page is connected")

    async def open(self, proposal_id: UUID) -> None:
        """Opens and displays a proposal."""
        self.card.clear_error()
        with self._errors_shown():
            await self.review.open(proposal_id)
            self._show_open()

    @contextmanager
    def _errors_shown(self, retry: Callable[[], Awaitable[None]] | None = None) -> Iterator[None]:
        try:
            yield
        except KnowledgeError as error:
            self.card.show_error(str(error), retry)

    async def _connected(self) -> None:
        with self._status:
            try:
                await self._status.client.connected(timeout=60)
            except ClientConnectionTimeout:
                return  # the page was only fetched, for example by monitoring
            await self._restore_drafts()
            self._listen()
            await self._count()
            await self._fetch_ahead()
            if not self.preferences.tour_seen and self.review.current:
                self.tour.begin()

    async def _restore_drafts(self) -> None:
        """Runs before keys are enabled: a person who types while the page reloads means the field."""
        try:
            self.card.restore_drafts(dict(await ui.run_javascript("pages.drafts()", timeout=10) or {}))
        except TimeoutError:
            log.warning("The browser did not return its drafts; it keeps them until the page is reloaded")

    async def _open_next(self, proposal_id: UUID | None) -> None:
        """Opens a proposal, or shows that no proposal is left."""
        if proposal_id:
            await self.open(proposal_id)
        else:
            self.review.current = None
            self._show_open()

    def _show_open(self) -> None:
        self.card.draw()
        self.queue.mark(self.review.current_id)
        self._show_address()
        self._run('pages.reveal("proposal-heading", 48)')
        self._in_background(self._fetch_ahead(), "the next proposal is fetched")

    def _in_background(self, work: Awaitable[None], name: str) -> None:
        background_tasks.create(until_deleted(self._status.client, work), name=name)

    def _show_address(self) -> None:
        proposal = f"proposal={self.review.current_id}" if self.review.current_id else ""
        query = "&".join(part for part in (self.review.filters.query, proposal) if part)
        self._run(f'pages.setAddress("{PATH}{"?" if query else ""}{query}")')

    # the list

    async def _filter(self, filters: Filters) -> None:
        self.review.filters = filters
        await self._reload(None)
        self._show_address()
        await self._count()

    async def _reload(self, proposal_id: UUID | None) -> None:
        with self._errors_shown(self._retry):
            await self.review.load()
            self.review.current = None
            first = proposal_id or (self.review.items[0]["id"] if self.review.items else None)
            if first:
                await self.review.open(first)
            self.card.clear_error()
        self.queue.show()
        self.card.draw()

    async def _retry(self) -> None:
        await self._reload(self.review.current_id)
        await self._count()

    async def _load_more(self) -> None:
        with self._errors_shown(self._load_more):
            self.queue.add(await self.review.load_more())

    async def _count(self) -> None:
        try:
            self.queue.show_counts(await self.review.count())
        except KnowledgeError as error:
            log.debug("The queue could not be counted: %s", error)
            self.queue.counts.set_text("The queue cannot be counted now.")

    async def _fetch_ahead(self) -> None:
        """Fetches the next proposal, and the next rows if few are left."""
        try:
            await self.review.prefetch()
            new = await self.review.refill()
        except KnowledgeError as error:
            log.debug("Nothing could be prefetched: %s", error)
            return
        if new:
            with self._status:
                self.queue.add(new)

    # decisions

    async def _proposal_left(self, proposal_id: UUID, outcome: Outcome) -> None:
        """Opens the next proposal after a decision or a skip."""
        if proposal_id in self.review.skipped:
            self.queue.mark_skipped(proposal_id)
            self._status.set_text(outcome.message)
        else:
            self.queue.remove(proposal_id)
            self.queue.show_counts(self.review.counts)
            self._status.set_text(f"{outcome.message} Undo: {SHOWN['u']}")
        await self._open_next(outcome.next_id)

    async def _undo(self) -> None:
        async with self.review.decision_lock:
            with self._errors_shown(self._undo):
                outcomes = await self.review.undo_last()
                if not outcomes:
                    self._status.set_text("You have nothing to undo. The history shows the decisions of everybody.")
                for proposal_id, outcome in outcomes:
                    await self._reopen(proposal_id, outcome)
        await self._count()

    async def _undo_one(self, proposal_id: UUID, audit_id: int) -> Outcome:
        """Undoes a decision of the history."""
        async with self.review.decision_lock:
            outcome = await self.review.decide("undo", proposal_id, audit_id=audit_id)
            if outcome.is_done:
                await self._reopen(proposal_id, outcome)
        await self._count()
        return outcome

    async def _reopen(self, proposal_id: UUID, outcome: Outcome) -> None:
        if not outcome.is_done:
            self.card.show_error(outcome.message)
            return
        self._status.set_text(outcome.message)
        with self._errors_shown():
            item = await self.review.put_first(proposal_id)
            if item:
                self.queue.put_first(item)
            await self.open(proposal_id)

    async def _bulk_decided(self, decided: list[UUID]) -> None:
        """Opens the next proposal if the open one was decided."""
        if decided:
            self.review.remember(*decided)
            self._status.set_text(f"{len(decided)} decided. Undo: {SHOWN['u']}")
        for proposal_id in decided:
            self.queue.remove(proposal_id)
        with self._errors_shown():
            if self.review.current is None or await self.review.was_decided():
                await self._open_next(self.review.next_after(None))
            await self._count()

    async def _open_from_history(self, proposal_id: UUID) -> None:
        self._tabs.value = "queue"
        await self.open(proposal_id)

    async def _poll(self) -> None:
        """Checks whether another reviewer has decided the open proposal, and counts the queue now and then."""
        self._polls += 1
        current = self.review.current
        try:
            if current is not None and is_decidable(current) and await self.review.was_decided():
                await self.review.refresh()
                self._show_other_decision(current.proposal["id"])
            if current is None and not self.review.items:
                await self._reload(None)
            if self._polls % COUNT_EVERY == 0:
                await self._count()
        except KnowledgeError as error:
            log.debug("The page could not be refreshed: %s", error)

    def _show_other_decision(self, proposal_id: UUID) -> None:
        detail = self.review.current
        if detail is None or detail.proposal["id"] != proposal_id or detail.decided is None:
            return
        self.card.show_error(f"Another reviewer decided first. {decision_sentence(detail.decided)} Your text is kept.")
        self.queue.remove(proposal_id)
        self.card.redraw()

    # keys, tabs, help

    async def _key(self, event: events.GenericEventArguments) -> None:
        code, shown = str(event.args["key"]), event.args.get("shown")
        if self._tabs.value == "history" and code not in ("h", "?", "escape"):
            return
        if code == "escape" and self.tour.is_open:
            self.tour.end()
            return
        if await self.card.press(code, shown, event.args.get("typed") or {}):
            return
        while_reading: dict[str, Callable[[], Awaitable[None]]] = {
            "u": self._undo,
            "j": lambda: self._step(1),
            "k": lambda: self._step(-1),
            "b": self.bulk.preview,
        }
        always: dict[str, Callable[[], object]] = {
            "x": lambda: self.queue.toggle(self.review.current_id),
            "/": lambda: self._run('pages.focus("search")'),
            "h": self._switch_tab,
            "t": self._begin_tour,
            "?": self._explain,
        }
        if self.card.is_reading and code in while_reading:
            await while_reading[code]()
        elif code in always:
            always[code]()

    async def _step(self, step: int) -> None:
        proposal_id = self.review.neighbour(self.review.current_id, step)
        if proposal_id:
            await self.open(proposal_id)

    def _switch_tab(self) -> None:
        self._tabs.value = "queue" if self._tabs.value == "history" else "history"

    async def _tab_changed(self) -> None:
        if self._tabs.value == "history":
            await self.history.load()

    def _listen(self) -> None:
        codes = [key.code for key in KEYS] if self.preferences.keys else ["escape"]
        self._run(f"pages.listen({codes})")

    def _explain(self) -> None:
        with self._dialogs:
            explain(self.review.thresholds, self.preferences.keys, self._enable_keys)

    def _enable_keys(self, enabled: bool) -> None:
        self.preferences.keys = enabled
        self.preferences.save(self._status.client)
        self._listen()

    def _begin_tour(self) -> None:
        self.tour.begin()

    def _tour_ended(self) -> None:
        self.preferences.tour_seen = True
        self.preferences.save(self._status.client)

    def _run(self, script: str) -> None:
        """Runs a script in the browser, independent of the pressed element, which may be deleted by now."""
        self._status.client.run_javascript(script)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
