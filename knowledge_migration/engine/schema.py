"""The schema phase: takes a database to a named revision and back (strategy §3, POSTGRES rules).

Never `upgrade head` and never `downgrade -1`: both ends are named, so nothing else that is pending is applied and no
unrelated revision is undone (ERRATA D10, D11). One operator at a time; killed anywhere, a second run completes it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from alembic import command
from alembic.config import Config

from knowledge_migration.engine.database import Connection, Database
from knowledge_migration.engine.ddl import LockLimits, StepResult, run_step
from knowledge_migration.engine.exclusive import exclusive
from knowledge_migration.engine.schema_steps import EVIDENCE_REVISION, STEPS, TARGET_REVISION, Direction, steps_of
from knowledge_migration.engine.statements import text_of

VERSION_TABLE = "alembic_version"
VERSION_TABLE_SCHEMA = "migration"
WORK = "changing the schema"

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
        return any(result.outcome == "done" for result in self.steps)

    @property
    def seconds(self) -> float:
        """Time spent in steps, waiting for locks included."""
        return sum(result.seconds for result in self.steps)


def current_revision(connection: Connection) -> str | None:
    """The revision that this database records; None before the first."""
    exists = connection.execute("SELECT to_regclass('migration.alembic_version') IS NOT NULL AS there").fetchone()
    if not exists or not exists["there"]:
        return None
    row = connection.execute(text_of("reports/schema_revision")).fetchone()
    return str(row["revision"]) if row else None


def prepare_evidence(database: Database, limits: LockLimits, on_step: OnStep | None = None) -> SchemaChange:
    """Makes our own schema `migration`, where the evidence of phase 0 goes; touches no table of the user's."""
    return upgrade(database, limits, to=EVIDENCE_REVISION, on_step=on_step)


def upgrade(
    database: Database, limits: LockLimits, *, to: str = TARGET_REVISION, on_step: OnStep | None = None
) -> SchemaChange:
    """Applies every step up to revision `to`; does nothing when the database is there or beyond.

    Raises `BlockedError` (a lock could not be had) or `BusyError` (another operator); what is applied stays valid.
    """
    return _walk(database, limits, "up", to, on_step)


def downgrade(
    database: Database, limits: LockLimits, *, to: str | None = EVIDENCE_REVISION, on_step: OnStep | None = None
) -> SchemaChange:
    """Reverts every step above revision `to`, by default all but our own evidence; None removes that too.

    Says nothing about what the tables hold: `engine.rollback_schema` asks that first.
    """
    return _walk(database, limits, "down", to, on_step)


def _walk(
    database: Database, limits: LockLimits, direction: Direction, to: str | None, on_step: OnStep | None
) -> SchemaChange:
    results: list[StepResult] = []
    with database.connect("schema") as connection, exclusive(connection, WORK):
        before = current_revision(connection)

        def run_revision(revision: str, way: Direction) -> None:
            steps = steps_of(revision) if way == "up" else tuple(reversed(steps_of(revision)))
            for step in steps:
                results.append(run_step(connection, step, way, limits))
                if on_step:
                    on_step(results[-1])

        if _lies_ahead(before, direction, to):
            _alembic(database, run_revision, direction, to)
        return SchemaChange(before, current_revision(connection), tuple(results))


def _lies_ahead(before: str | None, direction: Direction, to: str | None) -> bool:
    order = [None, *dict.fromkeys(step.revision for step in STEPS)]
    distance = order.index(to) - order.index(before)
    return distance > 0 if direction == "up" else distance < 0


def _alembic(
    database: Database, run_revision: Callable[[str, Direction], None], direction: Direction, to: str | None
) -> None:
    config = Config()
    config.set_main_option("script_location", "knowledge_migration.engine:revisions")
    config.set_main_option("path_separator", "os")
    with database.engine() as engine, engine.connect() as connection:
        connection.exec_driver_sql(text_of("schema/migration_schema.up"))
        config.attributes["connection"] = connection
        config.attributes["run_revision"] = run_revision
        if direction == "up":
            command.upgrade(config, str(to))
            return
        command.downgrade(config, to or "base")
        if to is None:
            connection.exec_driver_sql(text_of("schema/migration_schema.down"))
