"""Whether linking a row changes anything else of it: a trigger of the user's that stamps updated_at would.

The migration promises that legacy values stay as they are, so it tries one row in a transaction that is rolled back
before it begins, and refuses where the promise cannot be kept.
"""

from psycopg import sql

from knowledge_migration.engine.backfill.batch import DATA_ERRORS, TRANSIENT_ERRORS, pending_rows
from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.knowledge.entity_kinds import KIND_BY_NAME


def refuse_side_effects(connection: Connection, partition: Partition) -> None:
    """Raises `PreconditionError` naming the columns and triggers when linking the partition's next row changes more.

    Where that row cannot be written at all, there is nothing to see; the batch will say why.
    """
    table = f"public.{KIND_BY_NAME[partition.entity].table}"
    try:
        changed = _changed_columns(connection, table, partition)
    except (*DATA_ERRORS, *TRANSIENT_ERRORS):
        return
    if changed:
        triggers = connection.execute(text_of("backfill/update_triggers"), {"table": table}).fetchall()
        raise PreconditionError(
            f"Linking a row of {table} would change its {', '.join(changed)}: a trigger does that "
            f"({', '.join(row['name'] for row in triggers) or 'of unknown name'}), and the migration must not. Let it run "
            "on other columns only (BEFORE UPDATE OF ...), or disable it while the backfill, or its rollback, runs; then "
            "run this again. Nothing was changed."
        )


def _changed_columns(connection: Connection, table: str, partition: Partition) -> list[str]:
    names = [row["name"] for row in connection.execute(text_of("backfill/other_columns"), {"table": table})]
    values = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier("source", name)) for name in names)
    touch = statement("backfill/touch_one_row", table=table, values=values, pending=pending_rows())
    parameters = {"entity": partition.entity, "after": partition.after_id, "through": partition.through_id}
    with connection.transaction(force_rollback=True):
        row = connection.execute(touch, parameters).fetchone()
    if row is None:
        return []
    return [name for name, old, new in zip(names, row["before"], row["after"], strict=True) if old != new]
