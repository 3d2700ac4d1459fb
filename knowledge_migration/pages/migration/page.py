"""`/migration`: the state of the whole migration, pushed to everybody who looks, and what an admin may change (strategy §2.2)."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from nicegui import APIRouter, Client, ui

from knowledge_migration.engine.status.controls import ControlSnapshot
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.pages.frame import Context, frame, session_of_page
from knowledge_migration.pages.migration.actions import Actions
from knowledge_migration.pages.migration.feed import Feed
from knowledge_migration.pages.migration.source import MigrationSource
from knowledge_migration.pages.migration.view import MigrationView
from knowledge_migration.pages.session import Session

PATH = "/migration"
FIRST_LOOK_SECONDS = 1.5


@dataclass(frozen=True)
class Feeds:
    """What is shared by all pages of a process: the whole look, and the quick one, which an action is seen in at once."""

    whole: Feed[StatusSnapshot]
    quick: Feed[ControlSnapshot]

    def look_at_once(self) -> None:
        """After something was changed."""
        self.quick.look_at_once()
        self.whole.look_at_once()


def feeds_of(source: MigrationSource) -> Feeds:
    """Feeds that nobody watches yet."""
    return Feeds(Feed(source.look), Feed(source.read_controls))


def install(context: Context, source: MigrationSource, router: APIRouter) -> None:
    """Serves the page."""
    feeds = feeds_of(source)

    @ui.page(PATH, title="Migration", api_router=router, language="en-US", response_timeout=20)
    async def migration_page(request: Request, client: Client) -> None:
        actions = Actions(context.service, source, session_of_page(request), feeds.look_at_once)
        ui.add_head_html(f'<link rel="stylesheet" href="{context.assets}/migration.css">')
        ui.add_head_html(f'<script src="{context.assets}/migration.js"></script>')
        with frame(context, request, PATH):
            view = MigrationView(actions, source)
        stops = _watch(feeds, view)

        def end() -> None:
            for stop in stops:
                stop()

        client.on_delete(end)
        _end_with_session(actions.session, view, end)
        client.on_connect(view.set_clock)
        await asyncio.gather(*(feed.first_look(FIRST_LOOK_SECONDS) for feed in (feeds.whole, feeds.quick)))


def _end_with_session(session: Session, view: MigrationView, end: Callable[[], None]) -> None:
    """Who has no session any more sees nothing new, too."""

    def over() -> None:
        end()
        view.end()

    if session.expires_at is not None:
        ui.timer(max(session.expires_at - time.time(), 0), over, once=True)


def _watch(feeds: Feeds, view: MigrationView) -> list[Callable[[], None]]:
    """What has been seen already stands there at once; where it is old, a new look says so or replaces it."""
    view.show_whole(feeds.whole.seen)
    view.show_quick(feeds.quick.seen)
    return [feeds.whole.watch(view.show_whole), feeds.quick.watch(view.show_quick)]
