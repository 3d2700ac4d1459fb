"""The schema phase: takes a database to a named revision and back (strategy §3, POSTGRES rules).

Never `upgrade head` and never `downgrade -1`: both ends are named, so nothing else that is pending is applied and no
unrelated revision is undone (ERRATA D10, D11). One operator at a time; killed anywhere, a second run in either
direction completes it: the way up makes again what is missing, the way down reverts what was half made. Objects that
this migration has not made are never adopted and never dropped, whatever their names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema.ddl import LockLimits, StepResult, run_step
from knowledge_migration.engine.schema.steps import (
    EVIDENCE_REVISION,
    REVISIONS,
    STEPS,
    TARGET_REVISION,
    Direction,
    steps_of,
)

VERSION_TABLE = "alembic_version"
VERSION_TABLE_SCHEMA = "migration"
STORE = "migration.schema_object"
WORK = "changing the schema"
# A limit that the role or the database sets for the application's statements is not meant for validations and index
# builds; Alembic's session is idle while they run.
SESSION = {"statement_timeout": "0", "idle_session_timeout": "0"}

OnStep = Callable[[StepResult], None]


@dataclass(frozen=True)
class SchemaChange:
    """What a walk from one revision to another did."""

    from_revision: str | None
    to_revision: str | None
    steps: tuple[StepResult, ...]

    @property
    def changed(self) -> bool:
        """False when everything was there already."""
        return self.from_revision != self.to_revision or any(result.outcome == "done" for result in self.steps)

    @property
    def seconds(self) -> float:
        """Time spent in steps, waiting for locks included."""
        return sum(result.seconds for result in self.steps)


def exists(connection: Connection, relation: str) -> bool:
    """Whether there is a relation of that full name."""
    row = connection.execute("SELECT to_regclass(%(relation)s) AS found", {"relation": relation}).fetchone()
    return row is not None and row["found"] is not None


def current_revision(connection: Connection) -> str | None:
    """The revision that this database records; None before the first."""
    if not exists(connection, "migration.alembic_version"):
        return None
    row = connection.execute(text_of("schema/schema_revision")).fetchone()
    return str(row["revision"]) if row else None


def made_objects(connection: Connection) -> frozenset[str]:
    """The objects that this migration has made: written down one by one, or of a recorded revision."""
    recorded = steps_through(current_revision(connection))
    if not exists(connection, STORE):
        return recorded
    return recorded | {str(row["name"]) for row in connection.execute(text_of("schema/objects_made"))}


def steps_through(revision: str | None) -> frozenset[str]:
    """The objects that the revisions up to this one make; none for one that is not ours."""
    through = REVISIONS.index(revision) + 1 if revision in REVISIONS else 0
    return frozenset(step.object for step in STEPS if step.revision in REVISIONS[:through])


def foreign_objects(connection: Connection) -> list[dict[str, Any]]:
    """Objects that have a name of ours, but that this migration has not made."""
    made = made_objects(connection)
    return connection.execute(text_of("preparation/preflight_names"), {"made": sorted(made)}).fetchall()


def prepare_evidence(database: Database, limits: LockLimits, on_step: OnStep | None = None) -> SchemaChange:
    """Makes our own schema `migration`, where the evidence of phase 0 goes; touches no table of the user's."""
    return upgrade(database, limits, to=EVIDENCE_REVISION, on_step=on_step)


def upgrade(
    database: Database, limits: LockLimits, *, to: str = TARGET_REVISION, on_step: OnStep | None = None
) -> SchemaChange:
    """Applies every step up to revision `to` that is not applied, also one that somebody has taken away since.

    Raises `BlockedError` (a lock could not be had), `BusyError` (another operator) or `PreconditionError` (somebody
    else's object has a name of ours); what is applied stays valid.
    """
    with database.connect("schema", settings=SESSION) as connection, advisory_lock(connection, WORK):
        walk = _Walk(connection, limits, on_step)
        walk.refuse_foreign_objects(to)
        if not walk.has_own_schema:
            connection.execute(text_of("schema/migration_schema.up"))
        for revision in REVISIONS[: min(walk.position, walk.position_of(to))]:
            walk.run_revision(revision, "up")
        if walk.position_of(to) > walk.position:
            _alembic(database, walk.run_revision, "up", to)
        return walk.change()


def downgrade(
    database: Database, limits: LockLimits, *, to: str | None = EVIDENCE_REVISION, on_step: OnStep | None = None
) -> SchemaChange:
    """Reverts every step above revision `to`, by default all but our own evidence; None removes that too.

    Says nothing about what the tables hold: `engine.schema.rollback` asks that first.
    """
    with database.connect("schema", settings=SESSION) as connection, advisory_lock(connection, WORK):
        walk = _Walk(connection, limits, on_step)
        if not walk.has_own_schema:
            if walk.position == 0:
                return walk.change()
            connection.execute(text_of("schema/migration_schema.up"))
        for revision in reversed(REVISIONS[max(walk.position, walk.position_of(to)) :]):
            walk.run_revision(revision, "down")
        if walk.position_of(to) < walk.position:
            _alembic(database, walk.run_revision, "down", to)
        if to is None:
            _drop_own_schema(connection)
        return walk.change()


class _Walk:
    """One way from revision to revision: where it began, what it may touch, what it has done."""

    def __init__(self, connection: Connection, limits: LockLimits, on_step: OnStep | None) -> None:
        self.connection = connection
        self.limits = limits
        self.on_step = on_step
        self.before = current_revision(connection)
        self.position = self.position_of(self.before)
        self.made = made_objects(connection)
        self.results: list[StepResult] = []
        self.has_own_schema = exists(connection, STORE)

    def position_of(self, revision: str | None) -> int:
        """How many revisions are applied at `revision`; raises `MigrationError` for one that is not ours."""
        if revision is not None and revision not in REVISIONS:
            raise MigrationError(
                f"migration.{VERSION_TABLE} records revision {revision!r}, which this version does not know. Use the "
                "version of knowledge_migration that wrote it; if the table is somebody else's, move it away. "
                "Nothing was changed."
            )
        return REVISIONS.index(revision) + 1 if revision else 0

    def refuse_foreign_objects(self, to: str) -> None:
        """Raises `PreconditionError` when an object on the way up to `to` is somebody else's."""
        foreign = [row["object"] for row in foreign_objects(self.connection)]
        if to == EVIDENCE_REVISION:
            foreign = [name for name in foreign if name.startswith("migration.")]
        if foreign:
            raise PreconditionError(
                f"These have names that the migration uses, but it has not made them: {', '.join(foreign)}. Rename or "
                "remove them, then run the phase again. Nothing was changed."
            )

    def run_revision(self, revision: str, way: Direction) -> None:
        """Runs the steps of one revision, on the way down only those whose objects are ours."""
        steps = steps_of(revision)
        if way == "down":
            steps = tuple(step for step in reversed(steps) if step.object in self.made)
        for step in steps:
            self.results.append(run_step(self.connection, step, way, self.limits))
            if self.on_step:
                self.on_step(self.results[-1])

    def change(self) -> SchemaChange:
        """What the walk did until now."""
        return SchemaChange(self.before, current_revision(self.connection), tuple(self.results))


def _drop_own_schema(connection: Connection) -> None:
    try:
        with connection.transaction():
            connection.execute(text_of("schema/migration_schema.down"))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise MigrationError(
            f"Schema migration is emptied of all that is ours, but not dropped: {error.diag.message_detail}. Somebody "
            "else made that; move it or drop it, then run this again."
        ) from error


def _alembic(
    database: Database, run_revision: Callable[[str, Direction], None], direction: Direction, to: str | None
) -> None:
    # most processes only ask for the revision
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "knowledge_migration.engine.schema:revisions")
    config.set_main_option("path_separator", "os")
    with database.engine(settings=SESSION) as engine, engine.connect() as connection:
        config.attributes["connection"] = connection
        config.attributes["run_revision"] = run_revision
        if direction == "up":
            command.upgrade(config, str(to))
        else:
            command.downgrade(config, to or "base")
