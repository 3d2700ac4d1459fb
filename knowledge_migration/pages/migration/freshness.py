"""Whether what the page shows is of now: said when it changes, with since when and why where it is not."""

from typing import Any

from nicegui import ui

from knowledge_migration.pages.elements import Text, at
from knowledge_migration.pages.migration.feed import Seen
from knowledge_migration.pages.migration.parts import Ago


class Freshness:
    """The looks that the page lives from; the worse of them is told."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen[Any]] = {}
        with ui.element("p").classes("muted"):
            self._words = Text("span", "Looking at the database…").props("role=status id=freshness")
            Text("span", " Last look: ")
            self._looked = Ago(None, "not yet")
        with ui.element("div").classes("trouble").props("role=alert id=stale") as self._box, ui.element("div"):
            self._problem = Text("p", "")
            with ui.element("p") as self._since:
                Text("span", "What is shown is of ")
                self._at = Ago(None)
        self._box.set_visibility(False)

    def end(self, words: str) -> None:
        """Nothing new comes any more, for good."""
        self._words.set_text("Not live.")
        self._problem.set_text(words)
        self._since.set_visibility(False)
        self._box.set_visibility(True)

    def show(self, name: str, seen: Seen[Any]) -> None:
        """Tells how fresh one of the looks is."""
        self._seen[name] = seen
        self._looked.show(min((one.at for one in self._seen.values() if one.at), default=None), "not yet")
        failed = next((one for one in self._seen.values() if one.problem), None)
        self._box.set_visibility(failed is not None)
        if failed:
            self._words.set_text("Not live.")
            self._problem.set_text(f"Not up to date since {at(failed.failing_since)}. {failed.problem}")
            self._since.set_visibility(failed.at is not None)
            self._at.show(failed.at)
        elif all(one.at for one in self._seen.values()):
            self._words.set_text("Live: changes appear by themselves.")
