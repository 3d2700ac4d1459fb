"""`/review`: list, open proposal, history and keys of one reviewer, put together (strategy §10.3, §11.1)."""

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from fastapi import Request
from nicegui import APIRouter, background_tasks, events, ui
from nicegui.client import ClientConnectionTimeout

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.pages.context import Context
from knowledge_migration.pages.elements import Text
from knowledge_migration.pages.frame import frame, remember, session_of_page
from knowledge_migration.pages.preferences import Preferences
from knowledge_migration.pages.review.bulk import BulkBar
from knowledge_migration.pages.review.card import Card
from knowledge_migration.pages.review.filters import Filters, read_filters
from knowledge_migration.pages.review.guide import Tour, explain
from knowledge_migration.pages.review.history_view import HistoryView
from knowledge_migration.pages.review.labels import KEYS, SHOWN, who_decided
from knowledge_migration.pages.review.queue_view import FilterBar, QueueView
from knowledge_migration.pages.review.review_session import Outcome, ReviewSession, waits

log = logging.getLogger(__name__)

PATH = "/review"
LOOK_SECONDS = 3.0
COUNT_EVERY = 5
"""At every so many looks at the open proposal the queue is counted again."""


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
    """The elements of one reviewer's page, and what happens when something is pressed."""

    def __init__(self, review: ReviewSession) -> None:
        self.review = review
        self._looks = 0

    def tools(self) -> None:
        """The page's own buttons in the header."""
        offered = (("explore", "Tour (T)", self._show_tour), ("help_outline", "Keys and confidence (?)", self._explain))
        for icon, words, act in offered:
            made = ui.button(icon=icon, on_click=act).props("flat round dense color=white")
            made.props["aria-label"] = words
            with made:
                ui.tooltip(words)

    def build(self, preferences: Preferences) -> None:
        """Everything but the data."""
        self.preferences = preferences
        Text("h1", "Review proposals", "visually-hidden")
        with ui.tabs().props("dense no-caps align=left inline-label").classes("tabs") as self._tabs:
            ui.tab("queue", label="Queue", icon="inbox")
            ui.tab("history", label="History", icon="history").props(f"aria-keyshortcuts={SHOWN['h']}")
        with ui.tab_panels(self._tabs, value="queue", animated=False, keep_alive=True).classes("panels"):
            with ui.tab_panel("queue").classes("review-grid"):
                with ui.element("div").classes("side").props("id=queue"):
                    self.filters = FilterBar(self.review.filters, self._filter)
                    self.queue = QueueView(self.review, self.open, self._more)
                    self.bulk = BulkBar(self.review, self.queue, self._decided_many)
                with ui.element("div").classes("main-side"):
                    self._said = Text("p", "", "said").props("role=status aria-live=polite")
                    self.card = Card(self.review, self._left)
            with ui.tab_panel("history"):
                self.history = HistoryView(self.review, self._undo_one, self._open_from_history)
        self._tabs.on_value_change(self._tab_changed)
        self._place = ui.element("div")
        self.tour = Tour(self._tour_seen)
        ui.on("pages_key", self._key)

    async def begin(self, wanted: str) -> None:
        """The first look, before the page is sent; what can wait comes when the browser has it."""
        await self._reload(_id(wanted))
        ui.timer(LOOK_SECONDS, self._look, immediate=False)
        background_tasks.create(self._connected(), name="review page is connected")

    async def open(self, proposal_id: UUID) -> None:
        """Puts a proposal on the screen and shows it."""
        self.card.clear_trouble()
        try:
            await self.review.open(proposal_id)
        except KnowledgeError as error:
            self.card.trouble(str(error))
            return
        self._show_open()

    async def _connected(self) -> None:
        with self._said:
            try:
                await self._said.client.connected(timeout=60)
            except ClientConnectionTimeout:
                return  # somebody only fetched the page, as monitoring does
            await self._bring_back()
            self._listen()
            await self._count()
            await self._ahead()
            if not self.preferences.tour_seen and self.review.current:
                self._show_tour()

    async def _bring_back(self) -> None:
        """Before keys act: who goes on typing while the page loads means the field, not its keys."""
        try:
            self.card.bring_back(dict(await ui.run_javascript("pages.drafts()", timeout=10) or {}))
        except TimeoutError:
            log.warning(
                "The browser did not say what was typed before; it is still there when the page is loaded again"
            )

    def _show_open(self) -> None:
        self.card.draw()
        self.queue.mark(self.review.current_id)
        self._show_address()
        background_tasks.create(self._ahead(), name="the next proposal is fetched")

    def _show_address(self) -> None:
        query = self.review.filters.query
        here = f"proposal={self.review.current_id}" if self.review.current_id else ""
        whole = "&".join(part for part in (query, here) if part)
        self._run(f'pages.address("{PATH}?{whole}")' if whole else f'pages.address("{PATH}")')

    # the list

    async def _filter(self, filters: Filters) -> None:
        self.review.filters = filters
        await self._reload(None)
        self._show_address()
        await self._count()

    async def _reload(self, wanted: UUID | None) -> None:
        try:
            await self.review.load()
            self.review.current = None
            first = wanted or (self.review.items[0]["id"] if self.review.items else None)
            if first:
                await self.review.open(first)
            self.card.clear_trouble()
        except KnowledgeError as error:
            self.card.trouble(str(error), self._retry)
        self.queue.show()
        self.card.draw()

    async def _retry(self) -> None:
        await self._reload(self.review.current_id)
        await self._count()

    async def _more(self) -> None:
        try:
            self.queue.add(await self.review.load_more())
        except KnowledgeError as error:
            self.card.trouble(str(error), self._more)

    async def _count(self) -> None:
        try:
            self.queue.show_counts(await self.review.count())
        except KnowledgeError as error:
            log.debug("The queue could not be counted: %s", error)
            self.queue.counts.set_text("The queue cannot be counted at the moment.")

    async def _ahead(self) -> None:
        """The next proposal, and the next rows where few are left."""
        try:
            await self.review.look_ahead()
            new = await self.review.keep_full()
        except KnowledgeError as error:
            log.debug("Nothing could be fetched ahead: %s", error)
            return
        if new:
            with self._said:
                self.queue.add(new)

    # decisions

    async def _left(self, proposal_id: UUID, outcome: Outcome) -> None:
        """After a decision or a skip: the next one, at once."""
        if proposal_id in self.review.skipped:
            self.queue.mark_skipped(proposal_id)
            self._say(outcome.words)
        else:
            self.queue.remove(proposal_id)
            self.queue.show_counts(self.review.counts)
            self._say(f"{outcome.words} Undo: {SHOWN['u']}")
        if outcome.following:
            await self.open(outcome.following)
        else:
            self.review.current = None
            self._show_open()

    async def _undo(self) -> None:
        async with self.review.turn:
            try:
                outcomes = await self.review.undo_last()
            except KnowledgeError as error:
                self.card.trouble(str(error), self._undo)
                return
            if not outcomes:
                self._say("There is nothing of yours to undo. What everybody decided stands in the history.")
            for proposal_id, outcome in outcomes:
                await self._came_back(proposal_id, outcome)
        await self._count()

    async def _undo_one(self, proposal_id: UUID, audit_id: int) -> Outcome:
        """From the history."""
        async with self.review.turn:
            outcome = await self.review.decide("undo", proposal_id, audit_id=audit_id)
            if outcome.is_done:
                await self._came_back(proposal_id, outcome)
        await self._count()
        return outcome

    async def _came_back(self, proposal_id: UUID, outcome: Outcome) -> None:
        if not outcome.is_done:
            self.card.trouble(outcome.words)
            return
        self._say(outcome.words)
        try:
            item = await self.review.put_first(proposal_id)
        except KnowledgeError as error:
            self.card.trouble(str(error))
            return
        if item:
            self.queue.put_first(item)
        await self.open(proposal_id)

    async def _decided_many(self, done: list[UUID]) -> None:
        """After a bulk action: what is open may be among it."""
        if done:
            self.review.remember(*done)
            self._say(f"{len(done)} decided. Undo: {SHOWN['u']}")
        for proposal_id in done:
            self.queue.remove(proposal_id)
        try:
            left = self.review.current is None or await self.review.was_decided()
        except KnowledgeError as error:
            self.card.trouble(str(error))
            return
        if left:
            following = self.review.after(None)
            if following:
                await self.open(following)
            else:
                self.review.current = None
                self._show_open()
        await self._count()

    async def _open_from_history(self, proposal_id: UUID) -> None:
        self._tabs.value = "queue"
        await self.open(proposal_id)

    async def _look(self) -> None:
        """Whether somebody else has decided about the open proposal meanwhile, and how many wait."""
        self._looks += 1
        look = self.review.current
        try:
            if look is not None and waits(look) and await self.review.was_decided():
                await self.review.look_again()
                if (
                    self.review.current_id == look.proposal["id"]
                    and self.review.current
                    and self.review.current.decided
                ):
                    self.card.trouble(
                        f"Somebody was faster. {who_decided(self.review.current.decided)} What you typed is kept."
                    )
                    self.queue.remove(look.proposal["id"])
                    self.card.draw(self.card.mode)
            if look is None and not self.review.items:
                await self._reload(None)
            if self._looks % COUNT_EVERY == 0:
                await self._count()
        except KnowledgeError as error:
            log.debug("The page could not look: %s", error)

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
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "u": self._undo,
            "j": lambda: self._step(1),
            "k": lambda: self._step(-1),
            "b": self.bulk.preview,
        }
        others: dict[str, Callable[[], object]] = {
            "x": lambda: self.queue.toggle(self.review.current_id),
            "/": lambda: self._run('pages.focus("search")'),
            "h": self._turn,
            "t": self._show_tour,
            "?": self._explain,
        }
        if self.card.mode == "read" and code in acts:
            await acts[code]()
        elif code in others:
            others[code]()

    async def _step(self, step: int) -> None:
        following = self.review.neighbour(self.review.current_id, step)
        if following:
            await self.open(following)

    def _turn(self) -> None:
        self._tabs.value = "queue" if self._tabs.value == "history" else "history"

    async def _tab_changed(self) -> None:
        if self._tabs.value == "history":
            await self.history.load()

    def _listen(self) -> None:
        codes = [key.code for key in KEYS] if self.preferences.keys else ["escape"]
        self._run(f"pages.listen({codes})")

    def _explain(self) -> None:
        with self._place:
            explain(self.review.thresholds, self.preferences.keys, self._use_keys)

    def _use_keys(self, wanted: bool) -> None:
        self.preferences.keys = wanted
        self._run(remember(self.preferences))
        self._listen()

    def _show_tour(self) -> None:
        self.tour.begin()

    def _tour_seen(self) -> None:
        self.preferences.tour_seen = True
        self._run(remember(self.preferences))

    def _run(self, script: str) -> None:
        """In the browser; not through the element that was pressed, which may be gone by now."""
        self._said.client.run_javascript(script)

    def _say(self, words: str) -> None:
        self._said.set_text(words)


def _id(typed: str) -> UUID | None:
    try:
        return UUID(typed) if typed else None
    except ValueError:
        return None
