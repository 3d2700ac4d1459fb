"""The addresses in the settings: which are usable, and how they are shown without the secrets that they may hold."""

import re
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pydantic import AfterValidator, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

SECRET_NAMES = re.compile(r"token|key|secret|pass|auth|sig|session|credential|code|jwt", re.IGNORECASE)
LONG_VALUE = 24
"""A value of so many characters in a query string is more likely a token than a filter."""


def shown(url: str) -> str:
    """The URL without user, password and fragment, and with what looks like a secret in its query as `***`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(
        f"{quote(name)}={'***' if SECRET_NAMES.search(name) or len(value) >= LONG_VALUE else quote(value)}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def refuse_unusable(urls: Sequence[str]) -> None:
    """Raises `ValueError` unless all are http or https URLs with a host that differ also as they are shown."""
    for place, url in enumerate(urls, 1):
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(
                f"holds at place {place} what is no address; expected http://host/path or https://host/path"
            )
    if len({shown(url) for url in urls}) < len(urls):
        raise ValueError("holds two addresses that cannot be told apart once what may be a secret is left out of them")


def _postgresql_url(url: SecretStr | None) -> SecretStr | None:
    """Refuses a value that is not the address of a PostgreSQL database."""
    if url is None:
        return None
    try:
        parsed = make_url(url.get_secret_value())
    except (ArgumentError, ValueError) as error:  # the part after a colon may be a password: never in the message
        raise ValueError("is not a URL; expected postgresql://user:password@host:5432/database") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ValueError("is not a PostgreSQL URL; expected postgresql://user:password@host:5432/database")
    if not parsed.database:
        raise ValueError("names no database; expected postgresql://user:password@host:5432/database")
    return url


def server_and_database(url: SecretStr) -> tuple[object, ...]:
    """The database that an address names, without user and driver."""
    parsed = make_url(url.get_secret_value())
    return parsed.host, parsed.port or 5432, parsed.query.get("host"), parsed.database


PostgresUrl = Annotated[SecretStr | None, AfterValidator(_postgresql_url)]
