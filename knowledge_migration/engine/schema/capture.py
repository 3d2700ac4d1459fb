"""The capture: triggers that give every row that any session writes its approved proposal, in the transaction of that session.

A user's statement never fails because of it: what cannot be captured goes to quarantine, or is recorded and left to the sweep.
Deletes no row of a user. Installing it again completes a killed installation and enables a disabled trigger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.origin_proposals import insertion, taken_columns
from knowledge_migration.engine.foundation.own_objects import made_objects
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.schema.ddl import StepResult, object_state, run_step
from knowledge_migration.engine.schema.steps import LockLevel, Step
from knowledge_migration.knowledge.entity_kinds import ATOM, KINDS, EntityKind
from knowledge_migration.settings import SchemaChangeSettings

REVISION, PREFIX, INSTALLATION = "capture", "knowledge_migration_", "installation of the capture"
# A cached plan must suit one row and 100,000: live tables are read by key, and only what a statement holds is joined by hash.
HASHED, KEYED = "SET enable_nestloop = off", "SET enable_hashjoin = off SET enable_mergejoin = off"

Names = dict[str, str | sql.Composable]


def _steps(
    table: str, operation: str, entity: str, work: sql.Composed, concerned: str, settings: LiteralString
) -> Iterator[Step]:
    """The function of one operation on a table, and its trigger."""
    name, function = f"{PREFIX}{operation}", f"migration.{operation}_{table}"
    event, rows = ("DELETE", "OLD TABLE AS old_rows") if operation == "deleted" else ("INSERT", "NEW TABLE AS new_rows")
    body: Names = {"entity": sql.Literal(entity), "work": work}
    body |= {"concerned": statement(f"capture/{concerned}"), "settings": sql.SQL(settings)}
    yield Step(REVISION, "function", "function", function, names={"function": function, **body})
    fires: Names = {"event": sql.SQL(event), "transition": sql.SQL(rows)}
    fires |= {"trigger": name, "table": f"public.{table}", "function": function}
    locks: tuple[LockLevel, LockLevel] = ("share_row_exclusive", "access_exclusive")
    yield Step(REVISION, "trigger", "trigger", name, f"public.{table}", (table,), *locks, names=fires)


def _written(kind: EntityKind) -> Iterator[Step]:
    day, fires = statement("capture/day_key"), statement("capture/fires")
    key = statement("capture/extraction_key", day_key=day) if kind is ATOM else day
    shared_run = statement("capture/shared_run", run_key=key)
    names: Names = {
        "table": f"public.{kind.table}",
        "table_name": sql.Literal(kind.table),
        "entity": sql.Literal(kind.name),
        "taken": taken_columns(kind),
        "rejection": _rejection(kind),
    }
    at_once = statement(
        "capture/at_once",
        shared_run=shared_run,
        fires=fires,
        insertion=insertion(kind, sql.SQL("SELECT * FROM linked"), shared_run, refresh=True),
        **names,
    )
    work = statement(
        "capture/written",
        run_key=key,
        run_id=statement("capture/run_id"),
        before=statement("capture/other_values", fires=fires, row=sql.Identifier("source")),
        after=statement("capture/other_values", fires=fires, row=sql.Identifier("target")),
        insertion=insertion(kind, statement("capture/written_rows"), sql.SQL("source.run_id"), refresh=True),
        **names,
    )
    rest = sql.SQL("{}; IF done THEN RETURN NULL; END IF; {}").format(at_once, work)
    yield from _steps(kind.table, "written", kind.name, rest, "new_unlinked", HASHED)


def _deleted(kind: EntityKind) -> Iterator[Step]:
    work = statement("capture/deleted", proposals=f"public.{kind.proposal_table}")
    yield from _steps(kind.table, "deleted", kind.name, work, "old_linked", KEYED)


@dataclass(frozen=True)
class Relation:
    """A table whose rows belong to the atom `owner`, and the column of its proposal that lists them."""

    table: str
    owner: str
    column: str
    query: str

    def names(self, rows: str | sql.Composable) -> Names:
        """The names of a statement that adds these rows of the table to the proposals."""
        related = statement(f"capture/{self.query}", rows=rows)
        return {"related": related, "owner": self.owner, "column": self.column}


RELATIONS = (
    Relation("topic_atoms", "atom_id", "proposed_topic_ids", "topics_of_atoms"),
    Relation("atom_links", "from_atom_id", "proposed_links", "links_of_atoms"),
)


def _related(relation: Relation) -> Iterator[Step]:
    work = statement("capture/related", **relation.names("new_rows"))
    yield from _steps(relation.table, "related", ATOM.name, work, "new_related", KEYED)


def _rejection(kind: EntityKind) -> sql.Composed:
    """SQLSTATE and reason where a row cannot become a proposal, else NULL; what it does not foresee is left to the sweep."""
    columns = kind.proposals.c
    missing = [(name, "missing", "23502", 0) for name in kind.values if not columns[name].nullable]
    long = [(name, "too_long", "22001", width) for name, width in kind.widths.items()]
    unreadable = [(name, "no_json", "22P05", 0) for name in kind.casts]
    outside = [("confidence", "out_of_range", "23514", 0)] if kind.has_confidence else []
    tests = [
        sql.SQL("WHEN {} THEN {}").format(
            statement(f"capture/{test}", column=f"source.{name}", width=sql.Literal(width)),
            sql.Literal(f"{state} {name} is {test.replace('_', ' ')} for a proposal"),
        )
        for name, test, state, width in (*missing, *long, *unreadable, *outside)
    ]
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(tests))


# Relations first: a row is captured only where its relations are.
STEPS: tuple[Step, ...] = (
    *(step for relation in RELATIONS for step in _related(relation)),
    *(step for kind in KINDS for of in (_written, _deleted) for step in of(kind)),
)


def install(connection: Connection, limits: SchemaChangeSettings) -> list[StepResult]:
    """Installs what is missing or disabled; once it returns, no transaction is open that has written without the capture.

    Raises `BlockedError` naming the session whose lock is in the way; what is installed stays, and a second run completes it.
    Raises `BusyError` while another process installs it.
    """
    with advisory_lock(connection, INSTALLATION):
        before = connection.execute(text_of("capture/has_captured")).fetchone()
        results = [run_step(connection, step, "up", limits) for step in STEPS]
        if before and before["found"] and any(result.outcome == "done" for result in results):
            connection.execute(text_of("capture/interrupted"))
    return results


def remove(connection: Connection, limits: SchemaChangeSettings) -> list[StepResult]:
    """Drops what this migration has installed, waiting for the transactions that use it; the errors of `install`."""
    own = made_objects(connection)
    return [run_step(connection, step, "down", limits) for step in reversed(STEPS) if step.object in own]


def is_installed(connection: Connection) -> bool:
    """Whether rows are captured: this migration has begun to install the triggers and has not removed them."""
    return bool(made_objects(connection) & {step.object for step in STEPS})


def not_enforced(connection: Connection) -> list[str]:
    """The functions and triggers that are missing or disabled."""
    return [step.object for step in STEPS if object_state(connection, step) != "present"]
