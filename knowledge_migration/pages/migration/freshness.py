"""Whether what the page shows is of now: said when it changes, with since when and why where it is not."""

from collections.abc import Mapping
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
        with ui.element("div").classes("error-box").props("role=alert id=stale") as self._box, ui.element("div"):
            self._problem = Text("p", "")
            with ui.element("p") as self._since:
                Text("span", "What was seen last is of ")
                self._at = Ago(None)
        self._box.set_visibility(False)

    def end(self, words: str) -> None:
        """Nothing new comes any more, for good."""
        self._words.set_text("Not live.")
        self._problem.set_text(words)
        self._since.set_visibility(False)
        self._box.set_visibility(True)

    def show(self, name: str, seen: Seen[Any]) -> None:
        """Tells how fresh a look is; `name` says what comes from it."""
        self._seen[name] = seen
        self._looked.show(min((one.at for one in self._seen.values() if one.at), default=None), "not yet")
        failed = {about: one for about, one in self._seen.items() if one.problem}
        self._box.set_visibility(bool(failed))
        if failed:
            self._tell(failed)
        elif all(one.at for one in self._seen.values()):
            self._words.set_text("Live: changes appear by themselves.")

    def _tell(self, failed: Mapping[str, Seen[Any]]) -> None:
        first = next(iter(failed.values()))
        about = "What stands here is" if len(failed) == len(self._seen) else f"{next(iter(failed))} are"
        self._words.set_text("Not live.")
        self._problem.set_text(f"{about} not up to date since {at(first.failing_since)}. {first.problem}")
        self._since.set_visibility(first.at is not None)
        self._at.show(first.at)
