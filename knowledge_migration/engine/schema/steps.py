"""The schema phase as an ordered list of steps (strategy §3.1, POSTGRES rules 1-7).

A step is one file of `sql/schema/<revision>/` with the blocks `up` and `down`, filled in where it is a template. It
names the object it creates, so that a completed step is skipped after a crash, and the live tables that it locks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from psycopg import sql

from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.tables import LINK_COLUMN, REFERENCES

Kind = Literal["table", "function", "column", "index", "constraint", "validation", "trigger"]
LockLevel = Literal["none", "share_update_exclusive", "share_row_exclusive", "access_exclusive"]
Direction = Literal["up", "down"]

EVIDENCE, TABLES, LINKS = "0001_evidence", "0002_proposal_tables", "0003_link_columns"
FOREIGN_KEYS, INDEXES, VALIDATION = "0004_references", "0005_indexes", "0006_validation"
REVISIONS = (EVIDENCE, TABLES, LINKS, FOREIGN_KEYS, INDEXES, VALIDATION)
EVIDENCE_REVISION, TARGET_REVISION = EVIDENCE, VALIDATION


@dataclass(frozen=True)
class Step:
    """One schema change. `name` is the object it creates, on `relation` where it belongs to a table.

    `touches` are the live tables that it locks, `up_lock` and `down_lock` the lock levels; `names` fill in the template.
    """

    revision: str
    file: str
    kind: Kind
    name: str
    relation: str | None = None
    touches: tuple[str, ...] = ()
    up_lock: LockLevel = "none"
    down_lock: LockLevel = "none"
    names: Mapping[str, str | sql.Composable] = field(default_factory=dict, compare=False, repr=False)

    @property
    def object(self) -> str:
        """The object's full name, as `migration.schema_object` records it."""
        on_a_relation = self.kind in ("column", "constraint", "validation", "trigger")
        return f"{self.relation}.{self.name}" if on_a_relation else self.name

    def command(self, direction: Direction) -> sql.Composed:
        """The SQL of that direction."""
        return statement(f"schema/{self.revision}/{self.file}/{direction}", **self.names)

    def lock(self, direction: Direction) -> LockLevel:
        """The lock level on the live tables in that direction."""
        return self.up_lock if direction == "up" else self.down_lock


def _own_table(revision: str, name: str) -> Step:
    return Step(revision, name, "table", f"migration.{name}")


def _public_table(name: str, file: str | None = None, **names: str | sql.Composable) -> Step:
    """Nobody uses a table while it is created; the application may use one while it is dropped."""
    return Step(
        TABLES, file or name, "table", f"public.{name}", touches=(name,), down_lock="access_exclusive", names=names
    )


def _index(file: str, table: str, name: str) -> Step:
    names = {"table": f"public.{table}", "index": name}
    return Step(INDEXES, file, "index", f"public.{name}", f"public.{table}", (table,), names=names)


_EVIDENCE_STEPS = (
    *(
        _own_table(EVIDENCE, name)
        for name in (
            "evidence",
            "audit_log",
            "backfill_batch",
            "backfill_control",
            "backfill_speed",
            "quarantine",
            "gate_evaluation",
            "check_record",
            "writer_heartbeat",
            "legacy_rows",
        )
    ),
    Step(EVIDENCE, "origin_proposal_id", "function", "migration.origin_proposal_id"),
    Step(EVIDENCE, "require_linked", "function", "migration.require_linked"),
)
_TABLE_STEPS = (
    _public_table("knowledge_extraction_runs"),
    *(
        _public_table(
            kind.proposal_table,
            "proposals",
            entity=sql.SQL(kind.name),
            columns=statement(f"schema/{TABLES}/proposals/{kind.name}_columns"),
        )
        for kind in KINDS
    ),
    _public_table("feature_flags"),
    _public_table("knowledge_extraction_archive"),
    *(_own_table(TABLES, name) for name in ("shadow_failure", "capture_log", "service_measurement", "metric")),
)
_LINK_STEPS = tuple(
    Step(
        LINKS,
        "link_columns",
        "column",
        LINK_COLUMN,
        relation=f"public.{kind.table}",
        touches=(kind.table,),
        up_lock="access_exclusive",
        down_lock="access_exclusive",
        names={"table": f"public.{kind.table}"},
    )
    for kind in KINDS
)


def _references(revision: str, file: str, kind: Kind, up_lock: LockLevel, down_lock: LockLevel) -> tuple[Step, ...]:
    return tuple(
        Step(
            revision,
            file,
            kind,
            reference.name,
            relation=f"public.{reference.table}",
            touches=(reference.table, reference.referenced),
            up_lock=up_lock,
            down_lock=down_lock,
            names={
                "table": f"public.{reference.table}",
                "constraint": reference.name,
                "column": reference.column,
                "referenced": f"public.{reference.referenced}",
                "on_delete": sql.SQL(reference.on_delete),
            },
        )
        for reference in REFERENCES
    )


STEPS: tuple[Step, ...] = (
    *_EVIDENCE_STEPS,
    *_TABLE_STEPS,
    *_LINK_STEPS,
    *_references(FOREIGN_KEYS, "reference", "constraint", "share_row_exclusive", "access_exclusive"),
    *(_index("link_index", kind.table, f"idx_{kind.table}_migration") for kind in KINDS),
    _index("idx_topic_atoms_atom", "topic_atoms", "idx_topic_atoms_atom"),
    *_references(VALIDATION, "validation", "validation", "share_update_exclusive", "none"),
)


def steps_of(revision: str) -> tuple[Step, ...]:
    """The steps of one revision, in order."""
    return tuple(step for step in STEPS if step.revision == revision)
