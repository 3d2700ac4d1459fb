"""Loads every value of PostgreSQL into Python: what Python cannot represent never ends a query.

A time outside Python's years 1 to 9999 (also `infinity`) is loaded as the earliest or latest one. JSON that Python cannot
read or write again is loaded as its text, and written back unchanged. Values are compared in SQL, where they are exact.
"""

import json
import math
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.types.json import set_json_dumps, set_json_loads

DEEPEST_JSON = 100
"""Nesting that everything reads and writes: `json` gives up at about 1,000, and pydantic cannot serialise a depth of 255."""

EARLIEST, LATEST = datetime(1, 1, 2), datetime(9999, 12, 30)
"""A day within Python's own limits, so that another time zone exceeds neither."""

_RANGE = {
    psycopg.adapters.types["timestamptz"].oid: (EARLIEST.replace(tzinfo=UTC), LATEST.replace(tzinfo=UTC)),
    psycopg.adapters.types["timestamp"].oid: (EARLIEST, LATEST),
    psycopg.adapters.types["date"].oid: (EARLIEST.date(), LATEST.date()),
}


class JsonText(str):
    """JSON as PostgreSQL wrote it, because Python cannot represent it."""


class _TimeLoader(Loader):
    """Psycopg's own loader, and the nearest time where that one raises."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._exact = psycopg.adapters.get_loader(oid, self.format)(oid, context)  # type: ignore[misc]
        self._earliest, self._latest = _RANGE[oid]

    def load(self, data: Buffer) -> date:
        try:
            loaded: date = self._exact.load(data)
        except psycopg.DataError:
            text = bytes(data)
            return self._earliest if text.startswith(b"-") or text.endswith(b"BC") else self._latest
        return loaded


def load_every_value(connection: AdaptContext) -> None:
    """Registers the loaders on one connection; other connections of the process keep their own."""
    for oid in _RANGE:
        connection.adapters.register_loader(oid, _TimeLoader)
    set_json_loads(_loads, connection)
    set_json_dumps(_dumps, connection)


def readable_json(value: Any) -> str:
    """A loaded JSON value as indented text; as PostgreSQL wrote it where Python cannot represent it."""
    return (
        str(value) if isinstance(value, JsonText) else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    )


def _loads(data: str | bytes) -> Any:
    text = data if isinstance(data, str) else data.decode()
    try:
        value = json.loads(text, parse_float=_finite)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return JsonText(text)
    is_deep = text.count("[") + text.count("{") > DEEPEST_JSON and _depth(value) > DEEPEST_JSON
    return JsonText(text) if is_deep else value


def _dumps(value: Any) -> str:
    return str(value) if isinstance(value, JsonText) else json.dumps(value)


def _finite(text: str) -> float:
    """A float; raises `ValueError` where it would be infinite."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} exceeds a float")
    return number


def _depth(value: Any) -> int:
    """The nesting of a value that `json` has read, level by level."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth
