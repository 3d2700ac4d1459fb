"""A proposal beside the row that it resembles: field by field, word by word, and why it was flagged."""

from collections.abc import Sequence

from nicegui import ui

from knowledge_migration.knowledge.proposals.differences import FieldDifference, Part
from knowledge_migration.knowledge.proposals.proposal_detail import ProposalDetail, SimilarRow
from knowledge_migration.pages.elements import Text, age, percent

TAGS = {"same": "span", "removed": "del", "added": "ins"}
MOST_PARTS = 400
"""A text with more changes than that is another text: shown whole, one after the other."""


def difference_view(look: ProposalDetail) -> None:
    """Nothing where the proposal resembles nothing."""
    if look.similar is None:
        if look.why:
            with ui.element("section").props('aria-label="Similar"').classes("box"):
                Text("p", look.why)
        return
    similar = look.similar
    with ui.element("section").props('aria-labelledby="similar-heading" id=similar').classes("box attention-box"):
        Text("h3", f"Resembles {look.kind.name} {similar.id}{_score(similar)}").props("id=similar-heading")
        Text("p", look.why, "why")
        with ui.element("table").classes("differences"):
            _heading(similar)
            with ui.element("tbody"):
                for difference in similar.differences:
                    _row(difference)
        with ui.element("p").classes("legend"):
            Text("ins", "only in the proposal")
            Text("span", " and ")
            Text("del", "only in the existing one")


def _score(similar: SimilarRow) -> str:
    return f", {percent(similar.score)}" if similar.score is not None else ""


def _heading(similar: SimilarRow) -> None:
    with ui.element("thead"), ui.element("tr"):
        Text("th", "Field").props("scope=col")
        Text("th", "Proposed").props("scope=col")
        changed = f", changed {age(similar.updated_at)}" if similar.updated_at else ""
        Text("th", f"Existing (number {similar.id}{changed})").props("scope=col")


def _row(difference: FieldDifference) -> None:
    proposed = [part for part in difference.parts if part.how != "removed"]
    existing = [part for part in difference.parts if part.how != "added"]
    with ui.element("tr").classes("same" if difference.same else "differs"):
        Text("th", difference.field).props("scope=row")
        if difference.same:
            with ui.element("td").props("colspan=2"):
                Text("span", _text(proposed), "value")
                Text("span", " the same", "muted")
            return
        for parts in (proposed, existing):
            with ui.element("td"):
                _parts(parts, in_pieces=len(difference.parts) <= MOST_PARTS)


def _parts(parts: Sequence[Part], *, in_pieces: bool) -> None:
    if not parts or not in_pieces:
        Text("span", _text(parts), "value")
        return
    with ui.element("span").classes("value").props("dir=auto"):
        for part in parts:
            Text(TAGS[part.how], part.text).props(remove="dir")


def _text(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts) or "—"
