"""The addresses in the settings: which are usable, and how they are shown without the secrets that they may hold.

Every connection, of psycopg, SQLAlchemy, Dagster and PostgreSQL's tools, is made from what `parsed` returns.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SECRET_NAMES = re.compile(r"token|key|secret|pass|auth|sig|session|credential|code|jwt", re.IGNORECASE)
HOSTS = re.compile(r"(?P<before>[\w+]+://(?:[^:/@]*(?::[^@]*)?@)?)(?P<hosts>[^/?]*)(?P<after>.*)", re.DOTALL)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
EXPECTED = "postgresql://user:password@host:5432/database"
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


def parsed(address: str) -> URL:
    """The address of a PostgreSQL database, as libpq or a driver writes it, in the form that all connections are made from.

    Several hosts and socket directories become the parameters `host` and `port`, and every parameter is one of libpq. Raises
    `ValueError` that never holds the address: any part of it may be a password.
    """
    text = address.strip()
    if text[:1] in ("'", '"') and text[:1] == text[-1:]:
        text = text[1:-1]
    text = text.removeprefix("jdbc:")
    try:
        url = _of_url(text) if "://" in text else _of_keywords(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError, psycopg.Error):
        raise ValueError(f"is not a URL; expected {EXPECTED}") from None
    if backend not in ("postgresql", "postgres"):
        raise ValueError(f"is not a PostgreSQL URL; expected {EXPECTED}")
    return url.set(drivername="postgresql+psycopg", query=_libpq_parameters(url.query))


def _of_url(text: str) -> URL:
    """SQLAlchemy's reading, but for hosts that it does not read: several with commas, and an escaped socket directory."""
    matched = HOSTS.match(text)
    if not matched or not set(matched["hosts"]) & {",", "%"}:
        return make_url(text)
    hosts, ports = zip(*(_host_and_port(part) for part in matched["hosts"].split(",")), strict=True)
    moved = {"host": ",".join(hosts)} | ({"port": ",".join(ports)} if any(ports) else {})
    url = make_url(matched["before"] + matched["after"])
    return url.set(query={**moved, **url.query})


def _host_and_port(part: str) -> tuple[str, str]:
    host, colon, port = part.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = part, ""
    if port and not port.isdecimal():
        raise ValueError("a port is a number")
    return unquote(host).strip("[]"), port


def _of_keywords(text: str) -> URL:
    """libpq's other notation: host=… dbname=…."""
    parameters = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    user, password, database = (parameters.pop(name, None) for name in ("user", "password", "dbname"))
    return URL.create("postgresql", user, password, database=database, query=parameters)


def _libpq_parameters(query: Mapping[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """The parameters, with those of other tools translated. Raises `ValueError` that names one that libpq does not know."""
    parameters = dict(query)
    parameters.pop("pgbouncer", None)  # Prisma's: a pooler is recognized by what it does
    if parameters.get("schema") == "public":  # Prisma's
        del parameters["schema"]
    if parameters.get("ssl") in SSL_MODES and "sslmode" not in parameters:  # asyncpg's
        parameters["sslmode"] = parameters.pop("ssl")
    if unknown := sorted(parameters.keys() - _libpq_keywords()):
        hint = "; for ssl write sslmode=require or sslmode=verify-full" if "ssl" in unknown else ""
        raise ValueError(f"holds {', '.join(unknown)}, which libpq does not know: remove it from the address{hint}")
    return parameters


@cache
def _libpq_keywords() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _postgresql_url(url: SecretStr | None) -> SecretStr | None:
    """Refuses a value that is not the address of a PostgreSQL database."""
    if url is not None and not parsed(url.get_secret_value()).database:
        raise ValueError(f"names no database; expected {EXPECTED}")
    return url


def server_and_database(url: SecretStr) -> tuple[object, ...]:
    """The database that an address names, without user and driver."""
    address = parsed(url.get_secret_value())
    _, given = address.get_dialect()().create_connect_args(address)
    return given.get("host"), str(given.get("port") or 5432), given["dbname"]


def _backups_place(place: str | None) -> str | None:
    """Refuses a URL that fsspec does not know, and one with a password, which evidence and messages would show."""
    if place is None or "://" not in place:
        return place
    from fsspec.registry import known_implementations  # imported here: most installations name no URL

    parts = urlsplit(place)
    if parts.scheme not in known_implementations:
        raise ValueError("is no URL that fsspec knows; expected a path, or for example s3://bucket/folder")
    if parts.password is not None:
        raise ValueError(
            "holds a password; give it as the library of the protocol reads it, or as FSSPEC_<PROTOCOL>_PASSWORD"
        )
    return place


BackupsPlace = Annotated[str | None, AfterValidator(_backups_place)]
PostgresUrl = Annotated[SecretStr | None, AfterValidator(_postgresql_url)]
