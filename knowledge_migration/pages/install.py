"""`install(app, …)` mounts the pages on the application of the service, once per process: NiceGUI has one set of pages."""

import hashlib
from pathlib import Path

from fastapi import FastAPI
from nicegui import APIRouter, ui
from nicegui import app as pages_app

from knowledge_migration.knowledge.api import problems
from knowledge_migration.knowledge.api.disconnects import Disconnects
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.pages import sign_in
from knowledge_migration.pages.frame import Context, show_failure
from knowledge_migration.pages.guard import Guard
from knowledge_migration.pages.migration import page as migration_page
from knowledge_migration.pages.migration.feed import MigrationSource
from knowledge_migration.pages.review import page as review_page

ASSETS = Path(__file__).parent / "assets"
RECONNECT_SECONDS = 10.0
"""The server keeps a page this long after its connection was lost; later the browser reloads it."""


def install(app: FastAPI, service: KnowledgeService, migration: MigrationSource | None = None) -> None:
    """Serves /review, /sign-in and, with a source, /migration. Raises `RuntimeError` the second time in a process."""
    if pages_app.config.has_run_config:
        raise RuntimeError("The pages are already installed; a process serves one set of pages.")
    pages = {review_page.PATH: "Review"} | ({migration_page.PATH: "Migration"} if migration else {})
    context = Context(service, pages, _assets())
    router = APIRouter()
    sign_in.install(context, router)
    review_page.install(context, router)
    if migration:
        migration_page.install(context, migration, router)
    pages_app.include_router(router)
    pages_app.add_static_files(context.assets, ASSETS, max_cache_age=31_536_000)
    pages_app.exception_handlers.pop(404, None)
    problems.install(pages_app)
    pages_app.on_page_exception(show_failure)
    pages_app.add_middleware(Guard, options=service.options, paths=list(pages))
    pages_app.config.quasar_config["loadingBar"] = {"skipHijack": True}
    ui.run_with(
        app,
        title="Knowledge",
        language="en-US",
        dark=None,
        tailwind=False,
        binding_refresh_interval=None,
        reconnect_timeout=RECONNECT_SECONDS,
        show_welcome_message=False,
    )
    pages_app.add_middleware(Disconnects)  # around those that NiceGUI has just added


def _assets() -> str:
    """The address of the assets; it changes with their content, so that browsers can cache them."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(ASSETS.iterdir())))
    return f"/assets/{digest.hexdigest()[:12]}"
