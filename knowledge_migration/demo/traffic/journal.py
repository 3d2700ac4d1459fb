"""What the application has acknowledged: the last known values of every row that the traffic wrote, and its extractions.

A row whose last request got no answer is uncertain: either state is right, so it is not judged.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["topic", "atom"]


@dataclass
class Entry:
    """One row: the values that were acknowledged last; `values` is None once its deletion was."""

    values: dict[str, Any] | None
    busy: bool = False
    uncertain: bool = False


@dataclass(frozen=True)
class Extraction:
    """One acknowledged extraction, as it was answered."""

    run_id: str | None
    mode: str
    topic_ids: tuple[int, ...]
    atom_ids: tuple[int, ...]
    topic_proposal_ids: tuple[str, ...]
    atom_proposal_ids: tuple[str, ...]


@dataclass
class Journal:
    """All acknowledged writes of one run of the traffic. Only rows of its own are ever in it."""

    rows: dict[tuple[Kind, int], Entry] = field(default_factory=dict)
    extractions: list[Extraction] = field(default_factory=list)
    acknowledged: int = 0

    def written(self, kind: Kind, row_id: int, values: dict[str, Any] | None) -> None:
        """A write of a row was acknowledged: its values now, or None for a deletion."""
        entry = self.rows.setdefault((kind, row_id), Entry(values))
        if values is None or entry.values is None:
            entry.values = values
        else:
            entry.values = {**entry.values, **values}
        self.acknowledged += 1

    def extracted(self, answer: dict[str, Any]) -> None:
        """An extraction was acknowledged; its atoms are new rows that the traffic may edit."""
        proposals = (tuple(answer["topic_proposal_ids"]), tuple(answer["atom_proposal_ids"]))
        topics, atoms = tuple(answer["topic_ids"]), tuple(answer["atom_ids"])
        self.extractions.append(Extraction(answer["run_id"], answer["mode"], topics, atoms, *proposals))
        if answer["mode"] != "proposal":  # an approval may stand for an atom that somebody else wrote
            for atom_id in atoms:
                self.rows.setdefault(("atom", atom_id), Entry({}))
        self.acknowledged += 1

    def free(self, kind: Kind) -> list[int]:
        """Rows that stand, for sure, and that no request is under way for."""
        return [
            row_id
            for (entry_kind, row_id), entry in self.rows.items()
            if entry_kind == kind and entry.values is not None and not entry.busy and not entry.uncertain
        ]
