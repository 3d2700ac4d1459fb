"""The server settings of every session, whatever database, role or server say: the text of values, quoting, and timeouts."""

from collections.abc import Mapping
from typing import Any

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

NO_TIMEOUTS: Mapping[str, str] = {"statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0"}
"""For work that bounds its own statements: a timeout of the role would end a dump, a comparison or an index build."""

SINCE_17: Mapping[str, str] = {"transaction_timeout": "0"}
"""The same, of servers that know it: an unknown name in the options refuses the connection."""


PUBLIC_FIRST = "SELECT set_config('search_path', 'public, ' || current_setting('search_path'), false)"
"""For a new session: our names are those in `public`, whatever schema the role or database puts first; triggers of the user
still find the schemas of their path."""


def begin_in_public(connection: Any, _record: object) -> None:
    """Listens to `connect` of an engine of SQLAlchemy: sets `PUBLIC_FIRST` on the new connection."""
    cursor = connection.cursor()
    cursor.execute(PUBLIC_FIRST)
    cursor.close()
    connection.commit()


def as_options(settings: Mapping[str, str]) -> str:
    """The settings as libpq's `options`, in which a backslash escapes a space."""

    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace(" ", "\\ ")

    return " ".join(f"-c {name}={escaped(value)}" for name, value in settings.items())
