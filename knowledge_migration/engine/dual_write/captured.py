"""What the capture has captured: its counts, and a probe that writes as an application does and is rolled back."""

import psycopg

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import text_of


def totals(connection: Connection) -> dict[str, int]:
    """The rows that it has linked, and the statements that it could not capture and that no sweep has completed."""
    row = connection.execute(text_of("dual_write/captured_totals")).fetchone()
    assert row is not None  # aggregates
    return {"captured_rows": row["linked_rows"], "capture_failures": row["failures"]}


def probe(database: Database) -> dict[str, int]:
    """Writes a topic, an atom and their relation as an application does, compares the proposals, and rolls back.

    Raises `VerificationError` where they are not captured. Where the tables need values that the probe does not know, rows that
    other sessions have written are the evidence.
    """
    with database.connect("capture probe", settings={"knowledge_migration.capture": "on"}) as connection:
        try:
            with connection.transaction(force_rollback=True):
                captured = _probed(connection)
        except psycopg.errors.IntegrityError:
            captured = totals(connection)["captured_rows"]
        if not captured:
            raise VerificationError(
                "The probe wrote a topic, an atom and their relation, and their proposals are missing or differ (rolled back). "
                "migration.capture_log has the reason of a failure. Remove it, then materialize dual_write_mode again."
            )
        return {"captured": captured, **totals(connection)}


def _probed(connection: Connection) -> int:
    ids = {}
    for name in ("topic", "atom"):
        row = connection.execute(text_of(f"dual_write/probe_{name}")).fetchone()
        ids[name] = row["id"] if row else None
    connection.execute(text_of("dual_write/probe_relate"), ids)
    row = connection.execute(text_of("dual_write/probe_read"), ids).fetchone()
    return int(row["captured"]) if row else 0
