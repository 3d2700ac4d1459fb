"""The server settings of every session, whatever database, role or server say: the text of values, quoting, and timeouts."""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from knowledge_migration.value_loaders import load_every_value

TEXT: Mapping[str, str] = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
}
"""How values are written and read, and what a transaction sees."""

NO_TIMEOUTS: Mapping[str, str] = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}
"""For work that bounds its own statements: a timeout of the role would end a dump, a comparison or an index build.
`transaction_timeout` is set where the server knows it."""

UNCAPTURED: Mapping[str, str] = {"knowledge_migration.capture": "off"}
"""For sessions of the migration: the triggers of the capture leave alone what they write."""

APPLY = """
SELECT set_config(
           name,
           CASE name WHEN 'search_path' THEN 'public, ' || current_setting(name) ELSE value END,
           coalesce(%(local)s::boolean, pg_backend_pid() <> %(session_pid)s)
       ),
       pg_backend_pid() <> %(session_pid)s AS pooled
FROM unnest(%(names)s::text[], %(values)s::text[]) AS wanted (name, value)
WHERE name <> 'transaction_timeout' OR current_setting(name, true) IS NOT NULL
"""
"""Sets them for the session, or for the transaction where another process of the server answers than the one connected to:
a pooler is in between, and what a session sets may stay for others. Our names are those in `public`, whatever schema the role
or database puts first; triggers of the user still find the schemas of their path."""


def parameters(settings: Mapping[str, str], session_pid: int, *, local: bool | None = None) -> dict[str, Any]:
    """The parameters of `APPLY`; `local` None decides by the pid that the session was announced with."""
    names, values = [*settings, "search_path"], [*settings.values(), ""]
    return {"names": names, "values": values, "session_pid": session_pid, "local": local}


def apply_to_engine(engine: sa.Engine, settings: Mapping[str, str], shared: Callable[[], bool] = lambda: True) -> None:
    """Each session of the engine gets the settings (each transaction behind a pooler, where none is prepared) and the loaders.

    `shared` is asked behind a pooler: whether others use the same sessions of the server. No startup option is used: a pooler
    refuses or ignores it, and libpq would take a session that is read-only by its options for a server that is.
    """

    @sa.event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy reads: SQL_ASCII would give it bytes
    def connected(connection: Any, record: Any) -> None:
        driver = getattr(connection, "driver_connection", None) or connection
        load_every_value(driver)
        pid, cursor = driver.info.backend_pid, connection.cursor()
        cursor.execute(APPLY, parameters(settings, pid))
        record.info["pooled"] = cursor.fetchone()[1]
        connection.commit()
        if record.info["pooled"]:
            driver.prepare_threshold = None
            if not shared():
                cursor.execute(APPLY, parameters(settings, pid, local=False))
                connection.commit()
                record.info["pooled"] = False
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def began(connection: sa.Connection) -> None:
        if connection.info.get("pooled"):
            connection.exec_driver_sql(APPLY, parameters(settings, 0, local=True))
