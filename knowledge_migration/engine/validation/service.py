"""The running knowledge service that validations call: its address, its health, and whether it works on this database."""

from dataclasses import dataclass
from typing import Any

import httpx

from knowledge_migration.engine.dual_write.fence import live_writers
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, Connection
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError

TIMEOUT_SECONDS = 180.0
LIVE_SECONDS = 30.0


@dataclass(frozen=True)
class ServiceAddress:
    """The URL of the service, and the token that it requires, if any."""

    url: str
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that authenticate a request."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def client(self) -> httpx.Client:
        """A client of the API."""
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=TIMEOUT_SECONDS)


def announced_url(connection: Connection, live_seconds: float) -> str | None:
    """The address that a live process of the service announces in its heartbeat; None where none does."""
    try:
        return next((row["url"] for row in live_writers(connection, live_seconds) if row["url"]), None)
    except NOT_SO_FAR:
        return None


def health(address: ServiceAddress) -> dict[str, Any]:
    """The answer of `/health`; raises `VerificationError` unless the service is healthy."""
    try:
        with address.client() as client:
            answer = client.get("/health")
            body: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise VerificationError(f"The service at {address.url} does not answer /health: {error}.") from error
    if answer.status_code != 200 or body.get("database") != "reachable":
        raise VerificationError(f"The service at {address.url} is not healthy: {answer.status_code}, {body}.")
    return body


def require_this_database(connection: Connection, process: str, live_seconds: float = LIVE_SECONDS) -> None:
    """Raises `PreconditionError` unless that process of the service sends heartbeats to this database.

    A service on another database would take the ids of synthetic messages for messages of its own users.
    """
    if process not in {str(row["process"]) for row in live_writers(connection, live_seconds)}:
        raise PreconditionError(
            f"The process {process} of the service sends no heartbeats to this database, so it works on another one. Set "
            "KNOWLEDGE_SERVICE_URL to a service on this database. Nothing was written."
        )
