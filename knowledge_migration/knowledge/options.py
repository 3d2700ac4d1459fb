"""What a backend decides when it runs the service: the database, limits, thresholds, tokens."""

from dataclasses import dataclass, field

from knowledge_migration.knowledge.flags import Flags


@dataclass(frozen=True)
class ServiceOptions:
    """The options of one process of the service; defaults are the strategy's.

    `database_url` is any PostgreSQL URL. `direct_threshold` is the confidence from which direct mode writes (0.7),
    `queue_limit` how many proposals may wait for review, `queue_places_per_message` how many places an extraction that
    is under way holds for each message, `shadow_timeout_ms` how long the shadow of a direct write may take,
    `metrics_seconds` how old what `/metrics` says of the database may be.
    """

    database_url: str = field(repr=False)
    initial_flags: Flags = field(default_factory=Flags)
    pool_size: int = 10
    pool_timeout_seconds: float = 30.0
    statement_timeout_ms: int = 30_000
    direct_threshold: float = 0.7
    queue_limit: int = 1_000
    queue_places_per_message: int = 5
    queue_retry_after_seconds: int = 60
    shadow_timeout_ms: int = 2_000
    extraction_timeout_seconds: float = 120.0
    flag_poll_seconds: float = 0.5
    measurement_seconds: float = 2.0
    metrics_seconds: float = 5.0
    allow_faults: bool = False
    writer_live_seconds: float = 10.0
    reviewer_token: str | None = field(default=None, repr=False)
    admin_token: str | None = field(default=None, repr=False)

    @property
    def has_tokens(self) -> bool:
        """Whether callers must show a token; without any, only this machine is served."""
        return bool(self.reviewer_token or self.admin_token)
