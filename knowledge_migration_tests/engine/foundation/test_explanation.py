"""An unexpected error in words: its innermost cause, the object, the next step, and no value of a row."""

import errno

import psycopg
import pytest
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.explanation import explained

FULL = """
DO $$ BEGIN
  RAISE EXCEPTION 'could not extend file "base/16384/16527": No space left on device' USING ERRCODE = 'disk_full';
END $$
"""


def test_a_full_disk_under_dagsters_storage_is_named_with_its_setting_and_the_next_step(database: Database) -> None:
    engine = sa.create_engine(sa.make_url(database.url).set(drivername="postgresql+psycopg2"))
    with pytest.raises(sa.exc.DBAPIError) as caught, engine.begin() as connection:
        connection.exec_driver_sql(FULL)
    engine.dispose()
    assert explained(caught.value) == (
        "Dagster's storage (KNOWLEDGE_MIGRATION_DAGSTER_URL): "
        'could not extend file "base/16384/16527": No space left on device. '
        "Free space on that disk. Committed work stays; correct the cause, then run it again."
    )


def test_a_full_disk_of_the_server_and_of_this_machine(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.DiskFull) as caught:
        connection.execute(FULL)
    assert "Free space on that disk." in explained(caught.value)
    here = OSError(errno.ENOSPC, "No space left on device", "/backups/one.dump")
    assert explained(here).startswith("/backups/one.dump: No space left on device. Free space on that disk.")


def test_the_object_is_named_and_no_value_of_a_row(connection: Connection) -> None:
    connection.execute("INSERT INTO topics (name, description) VALUES ('a secret', '')")
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        connection.execute("INSERT INTO topics (name, description) VALUES ('a secret', '')")
    text = explained(caught.value)
    assert "topics" in text
    assert "secret" not in text


def test_what_nobody_expected_is_called_a_fault_of_the_tool() -> None:
    assert "ZeroDivisionError: division by zero. This is a fault of the tool" in explained(
        ZeroDivisionError("division by zero")
    )
