"""What the migration page looks at: the database, the rules of the settings, and where Dagster keeps its record."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.engine import make_url

from knowledge_migration.engine.backfill.control import Limits
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.status.controls import ControlSnapshot, read_controls
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.engine.status.reader import StatusRules, read_status

PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""A server that is gone without a word must not hold a look up for ever."""


@dataclass(frozen=True)
class MigrationSource:
    """`storage` says where Dagster's tables are, None where it does not run; `limits` what a backfill obeys by the settings."""

    database: Database
    rules: StatusRules
    storage: Callable[[], Database | None]
    limits: Limits = field(default_factory=Limits)

    def look(self, _before: StatusSnapshot | None = None) -> StatusSnapshot:
        """The whole state. Raises what the database says."""
        storage = self.storage()
        return read_status(patient(self.database), self.rules, patient(storage) if storage else None)

    def read_controls(self, before: ControlSnapshot | None = None) -> ControlSnapshot:
        """What an admin's action changes."""
        return read_controls(patient(self.database), self.rules.live_seconds, before)


@dataclass(frozen=True)
class _Patient(Database):
    """A database that is given up on after some seconds; people are shown the address that they gave."""

    shown: str = ""

    @property
    def display(self) -> str:
        """The address without its passwords, and without what was added to it."""
        return self.shown


def patient(database: Database) -> Database:
    """The same database, given up on after some seconds unless its address says otherwise."""
    address = make_url(database.url)
    missing = {name: value for name, value in PATIENCE.items() if name not in address.query}
    whole = address.update_query_dict(missing).render_as_string(hide_password=False)
    return _Patient(whole, database.display)
