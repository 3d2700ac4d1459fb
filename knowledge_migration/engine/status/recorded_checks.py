"""The latest evaluation of each asset check, read from Dagster's tables without Dagster, which takes over a second to import.

The tables are those of the pinned version; where they cannot be read the overview says so instead of showing nothing.
"""

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.status.model import Check

TIMEOUT_MS = "1000"


def recorded_checks(storage: Database) -> tuple[Check, ...]:
    """By asset and name. Raises `UnreachableError`, or what psycopg raises where the tables are missing."""
    with storage.connect("checks on record", settings={"statement_timeout": TIMEOUT_MS}) as connection:
        rows = connection.execute(text_of("status/checks")).fetchall()
    return tuple(
        Check(
            asset=row["asset"],
            name=row["name"],
            passed=row["status"] == "SUCCEEDED",
            warns=(row["severity"] or "").endswith("WARN"),
            ended=row["status"] in ("SUCCEEDED", "FAILED"),
            at=row["at"],
            words=row["words"] or f"Its last execution is {row['status']}.",
        )
        for row in rows
    )
