"""The schema phase as an ordered list of steps (strategy §3.1, POSTGRES rules 1-7).

A step is one file of `sql/schema/<revision>/` with its exact reversal beside it. It says what it produces, so that a
step that is already done is passed over after a crash, and which live tables it locks how, so that their long
transactions are waited for instead of queued behind.
"""

from dataclasses import dataclass, replace
from typing import Literal

LINK_COLUMN = "migrated_from_proposal_id"

Kind = Literal["table", "function", "column", "index", "constraint", "validation"]
LockLevel = Literal["none", "share_update_exclusive", "share_row_exclusive", "access_exclusive"]
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Step:
    """One schema statement. `name` is the object it makes, on `relation` where it belongs to a table.

    `touches` are the live tables that the statement locks, `up_lock` and `down_lock` how.
    """

    revision: str
    number: int
    kind: Kind
    name: str
    relation: str | None = None
    touches: tuple[str, ...] = ()
    up_lock: LockLevel = "none"
    down_lock: LockLevel = "none"
    file: str = ""

    @property
    def object(self) -> str:
        """The object's full name, under which `migration.schema_object` remembers who made it."""
        on_a_relation = self.kind in ("column", "constraint", "validation")
        return f"{self.relation}.{self.name}" if on_a_relation else self.name

    def path(self, direction: Direction) -> str:
        """The file of the statement, for `statements.statement`."""
        return f"schema/{self.revision}/{self.number:02d}_{self.file or self.name.split('.')[-1]}.{direction}"

    def lock(self, direction: Direction) -> LockLevel:
        """How the live tables are locked in that direction."""
        return self.up_lock if direction == "up" else self.down_lock


def _own_objects(revision: str, *objects: tuple[Kind, str, str]) -> tuple[Step, ...]:
    return tuple(
        Step(revision, number, kind, name, file=file) for number, (kind, name, file) in enumerate(objects, start=1)
    )


def _new_tables(revision: str, *tables: tuple[str, str]) -> tuple[Step, ...]:
    """Nobody uses a table that is being made; the application may use one that is being dropped."""
    return tuple(
        Step(revision, number, "table", f"public.{table}", touches=(table,), down_lock="access_exclusive", file=file)
        for number, (table, file) in enumerate(tables, start=1)
    )


def _link_columns(revision: str, *tables: str) -> tuple[Step, ...]:
    return tuple(
        Step(
            revision,
            number,
            "column",
            LINK_COLUMN,
            relation=f"public.{table}",
            touches=(table,),
            up_lock="access_exclusive",
            down_lock="access_exclusive",
            file=f"{table}_link_columns",
        )
        for number, table in enumerate(tables, start=1)
    )


# Table, column, referenced table, and what a DELETE there does to the reference: a user's DELETE works as before.
REFERENCES: tuple[tuple[str, str, str, str], ...] = (
    ("knowledge_extraction_runs", "created_by_user_id", "users", "SET NULL"),
    ("topic_proposals", "similar_topic_id", "topics", "SET NULL"),
    ("topic_proposals", "reviewed_by_user_id", "users", "SET NULL"),
    ("atom_proposals", "similar_atom_id", "atoms", "SET NULL"),
    ("atom_proposals", "reviewed_by_user_id", "users", "SET NULL"),
    ("topics", "migrated_from_proposal_id", "topic_proposals", "NO ACTION"),
    ("atoms", "migrated_from_proposal_id", "atom_proposals", "NO ACTION"),
)


def _references(revision: str, kind: Kind) -> tuple[Step, ...]:
    added = kind == "constraint"
    return tuple(
        Step(
            revision,
            number,
            kind,
            f"{table}_{column}_fkey",
            relation=f"public.{table}",
            touches=(table, referenced),
            up_lock="share_row_exclusive" if added else "share_update_exclusive",
            down_lock="access_exclusive" if added else "none",
        )
        for number, (table, column, referenced, _) in enumerate(REFERENCES, start=1)
    )


def _indexes(revision: str, *indexes: tuple[str, str]) -> tuple[Step, ...]:
    return tuple(
        Step(revision, number, "index", f"public.{index}", relation=f"public.{table}", touches=(table,))
        for number, (index, table) in enumerate(indexes, start=1)
    )


REVIEW_RULE = "confidence_is_stated_for_review"


def _service(revision: str) -> tuple[Step, ...]:
    """What the knowledge service needs beyond the strategy; the proposal tables may be in use already."""
    exclusive: tuple[LockLevel, LockLevel] = ("access_exclusive", "access_exclusive")
    changes: tuple[tuple[Kind, str, str, tuple[LockLevel, LockLevel]], ...] = (
        ("column", "entity_id", "columns", exclusive),
        ("constraint", REVIEW_RULE, "confidence", exclusive),
        ("validation", REVIEW_RULE, "confidence_validated", ("share_update_exclusive", "none")),
    )
    both = [(entity, *change) for change in changes for entity in ("topic", "atom")]
    on_proposals = tuple(
        Step(
            revision,
            number,
            kind,
            name,
            f"public.{entity}_proposals",
            (f"{entity}_proposals",),
            *locks,
            f"{entity}_{file}",
        )
        for number, (entity, kind, name, file, locks) in enumerate(both, start=1)
    )
    return (*on_proposals, Step(revision, 7, "table", "migration.shadow_failure", file="shadow_failure"))


STEPS: tuple[Step, ...] = (
    *_own_objects(
        "0001_evidence",
        ("table", "migration.evidence", "evidence"),
        ("table", "migration.audit_log", "audit_log"),
        ("table", "migration.backfill_batch", "backfill_ledger"),
        ("table", "migration.quarantine", "quarantine"),
        ("table", "migration.gate_evaluation", "gates"),
        ("function", "migration.origin_proposal_id", "origin_proposal_id"),
    ),
    *_new_tables(
        "0002_proposal_tables",
        ("knowledge_extraction_runs", "extraction_runs"),
        ("topic_proposals", "topic_proposals"),
        ("atom_proposals", "atom_proposals"),
        ("feature_flags", "feature_flags"),
    ),
    *_link_columns("0003_link_columns", "topics", "atoms"),
    *_references("0004_references", "constraint"),
    *_indexes(
        "0005_indexes",
        ("idx_topics_migration", "topics"),
        ("idx_atoms_migration", "atoms"),
        ("idx_topic_atoms_atom", "topic_atoms"),
    ),
    *_references("0006_validation", "validation"),
    *_service("0007_service"),
    Step("0008_cutover", 1, "table", "migration.service_measurement", file="service_measurement"),
    replace(*_new_tables("0008_cutover", ("knowledge_extraction_archive", "extraction_archive")), number=2),
    Step("0009_observability", 1, "table", "migration.metric", file="metric"),
    *_indexes(
        "0010_performance",
        ("idx_topic_proposals_status_created", "topic_proposals"),
        ("idx_atom_proposals_status_created", "atom_proposals"),
    ),
)

EVIDENCE_REVISION = "0001_evidence"
TARGET_REVISION = STEPS[-1].revision
REVISIONS: tuple[str, ...] = tuple(dict.fromkeys(step.revision for step in STEPS))


def steps_of(revision: str) -> tuple[Step, ...]:
    """The steps of one revision, in order."""
    return tuple(step for step in STEPS if step.revision == revision)
