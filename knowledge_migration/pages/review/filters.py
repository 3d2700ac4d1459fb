"""The filters of the queue, as values that are kept in the page's address, and as fields."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from nicegui import ui

from knowledge_migration.knowledge.entity_kinds import KINDS, EntityName
from knowledge_migration.knowledge.proposals.listing import Wanted

CHOICES = {
    "state": {"": "Waiting for review", "aside": "Parked or withdrawn"},
    "kind": {"": "Topics and atoms", "topic": "Topics", "atom": "Atoms"},
    "confidence": {
        "": "Any confidence",
        "0.95-1": "95 % and more",
        "0.8-0.95": "80 to 95 %",
        "0.7-0.8": "70 to 80 %",
        "0-0.7": "Below 70 %",
    },
    "similar": {"": "Similar or not", "yes": "Similar to a row", "no": "Not similar to a row"},
    "age": {
        "": "Any age",
        "under-1": "Last 24 hours",
        "under-7": "Last 7 days",
        "over-7": "Older than 7 days",
        "over-30": "Older than 30 days",
    },
}
STATUSES = {"": ("pending",), "aside": ("withdrawn", "parked")}
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Filters:
    """Each value is the key of a choice, or typed text; an empty value does not filter."""

    state: str = ""
    kind: str = ""
    confidence: str = ""
    similar: str = ""
    age: str = ""
    run: str = ""
    text: str = ""

    @property
    def are_set(self) -> bool:
        """Whether any filter is set."""
        return self != Filters()

    @property
    def query(self) -> str:
        """The query of an address, with the filters that are set."""
        return urlencode({name: value for name, value in vars(self).items() if value})

    def wanted(self, now: datetime | None = None) -> Wanted:
        """The arguments of the list. Raises `ValueError` for a malformed run id."""
        kinds: tuple[EntityName, ...] = tuple(kind.name for kind in KINDS if self.kind in ("", kind.name))
        low, _, high = self.confidence.partition("-")
        direction, _, days = self.age.partition("-")
        moment = (now or datetime.now(UTC)) - timedelta(days=int(days)) if days else None
        return Wanted(
            kinds=kinds,
            statuses=STATUSES[self.state],
            min_confidence=float(low) if low else None,
            max_confidence=_upper_bound(high),
            similar={"": None, "yes": True, "no": False}[self.similar],
            run_id=UUID(self.run) if self.run else None,
            created_after=moment if direction == "under" else None,
            created_before=moment if direction == "over" else None,
            text=self.text or None,
        )

    def with_run(self, run_id: str) -> "Filters":
        """With a run id; without one if it is malformed."""
        try:
            return replace(self, run=str(UUID(run_id.strip())) if run_id.strip() else "")
        except ValueError:
            return replace(self, run="")

    def with_text(self, text: str) -> "Filters":
        """With a search text, reduced to what PostgreSQL can store."""
        plain = text.replace("\x00", "").encode(errors="ignore").decode().strip()
        return replace(self, text=plain[:LONGEST_TEXT])


def read_filters(query: Mapping[str, str]) -> Filters:
    """The filters of an address; unknown choices are ignored."""
    values = {field.name: query.get(field.name, "") for field in fields(Filters)}
    chosen = {name: values[name] for name, choices in CHOICES.items() if values[name] in choices}
    return Filters(**chosen).with_run(values["run"]).with_text(values["text"])


def _upper_bound(high: str) -> float | None:
    """The upper end of a band, which belongs to the next band except for 1."""
    if not high:
        return None
    return 1.0 if high == "1" else float(high) - 1e-9


class FilterBar:
    """The fields; calls `on_change` with the new filters."""

    def __init__(self, filters: Filters, on_change: Callable[[Filters], Awaitable[None]]) -> None:
        self.filters = filters
        self._on_change = on_change
        is_open = filters != Filters(text=filters.text)
        with ui.element("search").props('aria-label="Filters"').classes("filters"):
            search = (
                ui.input("Search", value=filters.text)
                .classes("wide")
                .props(
                    f'outlined dense clearable debounce=300 maxlength={LONGEST_TEXT} aria-keyshortcuts="/" for=search'
                )
            )
            search.on_value_change(lambda event: self._apply(self.filters.with_text(event.value or "")))
            with ui.expansion("Filters", value=is_open).props("dense") as more:
                self._choices = ui.element("div").classes("filter-grid")
        if is_open:
            self._add_choices()
        more.on_value_change(lambda event: self._add_choices() if event.value else None)

    def _add_choices(self) -> None:
        """Adds the choices when they are first opened: five menus would take a third of the page's load time."""
        if self._choices.default_slot.children:
            return
        with self._choices:
            for name in CHOICES:
                self._choice(name)
            self._run()

    def _choice(self, name: str) -> None:
        choice = ui.select(CHOICES[name], value=getattr(self.filters, name), label=name.capitalize())
        choice.props("outlined dense options-dense").classes("filter")
        choice.on_value_change(lambda event: self._apply(replace(self.filters, **{name: event.value})))

    def _run(self) -> None:
        run = ui.input("Extraction run id", value=self.filters.run).classes("filter")
        run.props("outlined dense clearable debounce=300")

        async def apply(run_id: str) -> None:
            filters = self.filters.with_run(run_id)
            is_valid = bool(filters.run) or not run_id.strip()
            run.props(f'error={str(not is_valid).lower()} error-message="This is not the id of a run."')
            if is_valid:
                await self._apply(filters)

        run.on_value_change(lambda event: apply(event.value or ""))

    async def _apply(self, filters: Filters) -> None:
        if filters != self.filters:
            self.filters = filters
            await self._on_change(filters)
