"""Takes a database to a named revision of the schema, up or down (strategy §3, POSTGRES rules).

Never `upgrade head` or `downgrade -1`: both ends are named (ERRATA D10, D11). A second run in either direction completes
a killed one. Objects that this migration has not created are never adopted or dropped, whatever their names.
"""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database, exists
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.own_objects import LEDGER, current_revision, foreign_objects, made_objects
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema import capture
from knowledge_migration.engine.schema.ddl import StepResult, run_step
from knowledge_migration.engine.schema.steps import (
    EVIDENCE_REVISION,
    REVISIONS,
    TARGET_REVISION,
    Direction,
    steps_of,
)
from knowledge_migration.settings import SchemaChangeSettings

WORK = "changing the schema"

OnStep = Callable[[StepResult], None]
RunRevision = Callable[[str, Direction], None]


@dataclass(frozen=True)
class SchemaChange:
    """The steps between two revisions."""

    from_revision: str | None
    to_revision: str | None
    steps: tuple[StepResult, ...]

    @property
    def changed(self) -> bool:
        """False when every step was done already."""
        return self.from_revision != self.to_revision or any(result.outcome == "done" for result in self.steps)

    @property
    def seconds(self) -> float:
        """Duration of all steps, waits for locks included."""
        return sum(result.seconds for result in self.steps)


def prepare_evidence(database: Database, limits: SchemaChangeSettings, on_step: OnStep | None = None) -> SchemaChange:
    """Creates the schema `migration` for the evidence of phase 0; changes no table of the user's."""
    return upgrade(database, limits, to=EVIDENCE_REVISION, on_step=on_step)


def upgrade(
    database: Database, limits: SchemaChangeSettings, *, to: str = TARGET_REVISION, on_step: OnStep | None = None
) -> SchemaChange:
    """Applies every step up to revision `to` that is missing, also one whose object somebody has dropped since.

    Raises `BlockedError` (a lock was not granted), `BusyError` (another operator) or `PreconditionError` (an object of
    somebody else uses a name of ours); applied steps stay valid.
    """
    with database.connect("schema") as connection, advisory_lock(connection, WORK):
        run = _Run(connection, limits, on_step)
        run.refuse_foreign_objects(to)
        if not exists(connection, LEDGER):
            connection.execute(text_of("schema/migration_schema/up"))
        for revision in REVISIONS[: min(run.position, _position(to))]:
            run.run_revision(revision, "up")
        if _position(to) > run.position:
            _alembic(database, run.run_revision, "up", to)
        if to == TARGET_REVISION and capture.is_installed(connection):
            run.results += capture.install(connection, limits)
        return run.change()


def downgrade(
    database: Database,
    limits: SchemaChangeSettings,
    *,
    to: str | None = EVIDENCE_REVISION,
    on_step: OnStep | None = None,
) -> SchemaChange:
    """Reverts every step above revision `to`, by default all but our own evidence; None removes that, too.

    Does not check what the tables contain: `engine.rollback.schema` does that first.
    """
    with database.connect("schema") as connection, advisory_lock(connection, WORK):
        run = _Run(connection, limits, on_step)
        if not exists(connection, LEDGER):
            return run.change()
        capture.remove(connection, limits)
        for revision in reversed(REVISIONS[max(run.position, _position(to)) :]):
            run.run_revision(revision, "down")
        if _position(to) < run.position:
            _alembic(database, run.run_revision, "down", to)
        if to is None:
            _drop_own_schema(connection)
        return run.change()


def _position(revision: str | None) -> int:
    """The number of revisions applied at `revision`; raises `MigrationError` for an unknown one."""
    if revision is not None and revision not in REVISIONS:
        raise MigrationError(
            f"migration.alembic_version records revision {revision!r}, which this version does not know. Use the version of "
            "knowledge_migration that wrote it; if the table belongs to somebody else, move it away. Nothing was changed."
        )
    return REVISIONS.index(revision) + 1 if revision else 0


class _Run:
    """One upgrade or downgrade: the revision it started from, and the results of its steps."""

    def __init__(self, connection: Connection, limits: SchemaChangeSettings, on_step: OnStep | None) -> None:
        self.connection = connection
        self.limits = limits
        self.on_step = on_step
        self.before = current_revision(connection)
        self.position = _position(self.before)
        self.own_objects = made_objects(connection)
        self.results: list[StepResult] = []

    def refuse_foreign_objects(self, to: str) -> None:
        """Raises `PreconditionError` when an object up to revision `to` belongs to somebody else."""
        foreign = [row["object"] for row in foreign_objects(self.connection)]
        if to == EVIDENCE_REVISION:
            foreign = [name for name in foreign if name.startswith("migration.")]
        if foreign:
            raise PreconditionError(
                f"The migration uses these names, but it has not created the objects: {', '.join(foreign)}. Rename or "
                "remove them, then run the phase again. Nothing was changed."
            )

    def run_revision(self, revision: str, direction: Direction) -> None:
        """Runs the steps of one revision; down, only those whose objects are ours."""
        steps = steps_of(revision)
        if direction == "down":
            steps = tuple(step for step in reversed(steps) if step.object in self.own_objects)
        for step in steps:
            self.results.append(run_step(self.connection, step, direction, self.limits))
            if self.on_step:
                self.on_step(self.results[-1])

    def change(self) -> SchemaChange:
        """The steps until now."""
        return SchemaChange(self.before, current_revision(self.connection), tuple(self.results))


def _drop_own_schema(connection: Connection) -> None:
    try:
        with connection.transaction():
            connection.execute(text_of("schema/migration_schema/down"))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise MigrationError(
            f"All objects of the migration are dropped, but schema migration is not: {error.diag.message_detail}. Somebody "
            "else created that; move it or drop it, then run this again."
        ) from error


def _alembic(database: Database, run_revision: RunRevision, direction: Direction, to: str | None) -> None:
    # imported here: most processes only read the revision
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "knowledge_migration.engine.schema:revisions")
    config.set_main_option("path_separator", "os")
    with database.engine() as engine, engine.connect() as connection:
        config.attributes["connection"] = connection
        config.attributes["run_revision"] = run_revision
        if direction == "up":
            command.upgrade(config, str(to))
        else:
            command.downgrade(config, to or "base")


def in_direction(revision: str, direction: Direction) -> Callable[[], None]:
    """Alembic's function for one direction of a revision: it runs the revision's steps."""

    def run_steps() -> None:
        from alembic import context

        context.config.attributes["run_revision"](revision, direction)

    return run_steps
