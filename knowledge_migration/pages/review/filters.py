"""Which proposals the queue shows; in the page's address, so that it outlives a reload and can be sent to a colleague."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from knowledge_migration.knowledge.entity_kinds import KINDS, EntityName
from knowledge_migration.knowledge.proposals.listing import Wanted

KIND_CHOICES = {"": "Topics and atoms", "topic": "Topics", "atom": "Atoms"}
CONFIDENCE_CHOICES = {
    "": "Any confidence",
    "0.95-1": "95 % and more",
    "0.8-0.95": "80 to 95 %",
    "0.7-0.8": "70 to 80 %",
    "0-0.7": "Below 70 %",
}
STATE_CHOICES = {"": "Waiting for review", "aside": "Put aside or taken back"}
STATES = {"": ("pending",), "aside": ("withdrawn", "parked")}
SIMILAR_CHOICES = {"": "Similar or not", "yes": "Similar to something", "no": "Similar to nothing"}
AGE_CHOICES = {
    "": "Any age",
    "under-1": "Last 24 hours",
    "under-7": "Last 7 days",
    "over-7": "Older than 7 days",
    "over-30": "Older than 30 days",
}
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Filters:
    """Each is the key of a choice, or what was typed; empty means that it does not matter."""

    state: str = ""
    kind: str = ""
    confidence: str = ""
    similar: str = ""
    age: str = ""
    run: str = ""
    text: str = ""

    @property
    def are_set(self) -> bool:
        """Whether any of them narrows the queue."""
        return self != Filters()

    @property
    def query(self) -> str:
        """As the query of an address, only what is set."""
        return urlencode({name: value for name, value in vars(self).items() if value})

    def wanted(self, now: datetime | None = None) -> Wanted:
        """As the list takes it. A run that is no id matches nothing: `ValueError`."""
        kinds: tuple[EntityName, ...] = tuple(kind.name for kind in KINDS if self.kind in ("", kind.name))
        low, _, high = self.confidence.partition("-")
        older, _, days = self.age.partition("-")
        moment = (now or datetime.now(UTC)) - timedelta(days=int(days)) if days else None
        return Wanted(
            kinds=kinds,
            statuses=STATES[self.state],
            min_confidence=float(low) if low else None,
            max_confidence=_below(high),
            similar={"": None, "yes": True, "no": False}[self.similar],
            run_id=UUID(self.run) if self.run else None,
            created_after=moment if older == "under" else None,
            created_before=moment if older == "over" else None,
            text=self.text or None,
        )


def read_filters(query: Mapping[str, str]) -> Filters:
    """From an address; what is no choice of ours is left out."""
    choices = {
        "state": STATE_CHOICES, "kind": KIND_CHOICES, "confidence": CONFIDENCE_CHOICES, "similar": SIMILAR_CHOICES,
        "age": AGE_CHOICES,
    }  # fmt: skip
    found = {field.name: query.get(field.name, "") for field in fields(Filters)}
    kept = {name: value if value in choices.get(name, {value: ""}) else "" for name, value in found.items()}
    return with_text(with_run(Filters(**{**kept, "run": "", "text": ""}), kept["run"]), kept["text"])


def with_run(filters: Filters, typed: str) -> Filters:
    """With a run, or without one where that is no id."""
    try:
        return replace(filters, run=str(UUID(typed.strip())) if typed.strip() else "")
    except ValueError:
        return replace(filters, run="")


def with_text(filters: Filters, typed: str) -> Filters:
    """With a text to look for, as PostgreSQL can hold it."""
    plain = typed.replace("\x00", "").encode(errors="ignore").decode().strip()
    return replace(filters, text=plain[:LONGEST_TEXT])


def _below(high: str) -> float | None:
    """The upper end of a band: what begins the next one is not in it, but 1 is."""
    if not high:
        return None
    return 1.0 if high == "1" else float(high) - 1e-9
