"""The options of one process of the knowledge service."""

from pathlib import Path

from pydantic import Field

from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.settings import ServiceSettings


class ServiceOptions(ServiceSettings):
    """The service settings, with the database of the process and the limits that only code changes.

    `database_url` is any PostgreSQL URL. `queue_places_per_message` is how many places in the review queue a running
    extraction reserves for each message, `shadow_timeout_ms` the time limit of the shadow of a direct write,
    `metrics_seconds` the greatest age of the values that `/metrics` reads from the database, `announced_url` the address that
    the heartbeat names, so that validations find the process, `name_vectors` the directory where vectors of names are kept.
    """

    database_url: str = Field(repr=False)
    initial_flags: Flags = Flags()
    pool_timeout_seconds: float = 30.0
    statement_timeout_ms: int = 30_000
    queue_places_per_message: int = 5
    queue_retry_after_seconds: int = 60
    shadow_timeout_ms: int = 2_000
    extraction_timeout_seconds: float = 120.0
    flag_poll_seconds: float = 0.5
    measurement_seconds: float = 2.0
    metrics_seconds: float = 5.0
    allow_faults: bool = False
    announced_url: str | None = None
    name_vectors: Path | None = None

    @property
    def has_tokens(self) -> bool:
        """Whether callers must show a token; without any, only this machine is served."""
        return self.token is not None
