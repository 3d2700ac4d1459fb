"""The addresses of pages: which can be asked for, and how they are shown without the secrets that they may hold.

Kept apart from the measuring, so that reading the settings imports nothing that measures.
"""

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

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
