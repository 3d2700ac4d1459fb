"""What the users of a round were acknowledged: rows, extractions, decisions. It knows nothing of the migration.

A change without an answer leaves two possible outcomes; its row is not written again, and the judge accepts both.
"""

import threading
from dataclasses import dataclass, field
from typing import Any, Literal

Table = Literal["topics", "atoms"]
NAMES: dict[Table, str] = {"topics": "name", "atoms": "title"}


@dataclass
class Row:
    """A row as it was acknowledged last; `values` holds only what is known of it.

    `edited` after an acknowledged edit, `uncertain` with the values of a change without an answer (None: a deletion).
    """

    values: dict[str, Any]
    deleted: bool = False
    edited: bool = False
    uncertain: dict[str, Any] | None = None
    maybe_deleted: bool = False

    @property
    def settled(self) -> bool:
        """Whether users may write it again."""
        return not self.deleted and self.uncertain is None and not self.maybe_deleted


@dataclass(frozen=True)
class Extraction:
    """The answer of an acknowledged extraction."""

    mode: str
    run_id: str | None
    topic_ids: tuple[int, ...]
    atom_ids: tuple[int, ...]
    topic_proposals: tuple[str, ...]
    atom_proposals: tuple[str, ...]


@dataclass
class Decision:
    """The last acknowledged decision about a proposal; `uncertain` after one without an answer."""

    table: Table
    status: str
    entity_id: int | None = None
    uncertain: bool = False


@dataclass
class Journal:
    """All acknowledged writes of one round; safe for several threads. `refused` holds names that must not exist."""

    rows: dict[tuple[Table, int], Row] = field(default_factory=dict)
    extractions: list[Extraction] = field(default_factory=list)
    decisions: dict[str, Decision] = field(default_factory=dict)
    undone: set[tuple[Table, int]] = field(default_factory=set)
    names: dict[tuple[Table, str], bool] = field(default_factory=dict)
    refused: set[tuple[Table, str]] = field(default_factory=set)
    relations: set[tuple[int, int]] = field(default_factory=set)
    unanswered: int = 0
    acknowledged: int = 0
    errors: list[tuple[float, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def creating(self, table: Table, name: str) -> None:
        """A creation is about to be requested; its name is used once."""
        with self.lock:
            self.names[table, name] = False

    def refused_creation(self, table: Table, name: str) -> None:
        """A creation was refused with the answer that nothing was written."""
        with self.lock:
            self.refused.add((table, name))

    def created(self, table: Table, row_id: int, values: dict[str, Any]) -> None:
        """A creation was acknowledged."""
        with self.lock:
            self.names[table, values[NAMES[table]]] = True
            self.rows[table, row_id] = Row(dict(values))
            self.acknowledged += 1

    def known(self, table: Table, row_id: int, values: dict[str, Any] | None = None) -> None:
        """A row that an answer named; its values if they were read."""
        with self.lock:
            row = self.rows.setdefault((table, row_id), Row({}))
            if values and not row.values:
                row.values = dict(values)

    def edited(self, table: Table, row_id: int, values: dict[str, Any]) -> None:
        """An edit was acknowledged."""
        with self.lock:
            row = self.rows.setdefault((table, row_id), Row({}))
            row.values = {**row.values, **values}
            row.edited = True
            self.acknowledged += 1

    def deleted(self, table: Table, row_id: int) -> None:
        """A deletion was acknowledged."""
        with self.lock:
            self.rows.setdefault((table, row_id), Row({})).deleted = True
            self.acknowledged += 1

    def unanswered_edit(self, table: Table, row_id: int, values: dict[str, Any] | None) -> None:
        """An edit (None: a deletion) got no answer."""
        with self.lock:
            row = self.rows.setdefault((table, row_id), Row({}))
            if values is None:
                row.maybe_deleted = True
            else:
                row.uncertain = dict(values)
            self.unanswered += 1

    def extracted(self, extraction: Extraction) -> None:
        """An extraction was acknowledged."""
        with self.lock:
            self.extractions.append(extraction)
            self.acknowledged += 1

    def decided(self, proposal_id: str, table: Table, status: str, entity_id: int | None) -> None:
        """A decision was acknowledged; an undo may have removed the row of the decision before."""
        with self.lock:
            before = self.decisions.get(proposal_id)
            if status == "pending" and before and before.entity_id is not None:
                self.undone.add((table, before.entity_id))
            self.decisions[proposal_id] = Decision(table, status, entity_id)
            self.acknowledged += 1

    def unanswered_decision(self, proposal_id: str, table: Table) -> None:
        """A decision got no answer."""
        with self.lock:
            decision = self.decisions.setdefault(proposal_id, Decision(table, "unknown"))
            decision.uncertain = True
            if decision.entity_id is not None:
                self.undone.add((table, decision.entity_id))
            self.unanswered += 1

    def no_answer(self) -> None:
        """A request that is not about a known row got no answer."""
        with self.lock:
            self.unanswered += 1

    def failed(self, at: float, error: str) -> None:
        """A request got an answer that reports a fault of the server."""
        with self.lock:
            self.errors.append((at, error))
