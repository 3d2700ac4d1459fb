"""The report as one HTML file that opens anywhere: no script, no address of anything outside it."""

import base64
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.observability.report import Contents

TEMPLATE = "report.html.j2"


def render(contents: Contents) -> str:
    """The page; everything that comes from the database is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"picture": _picture, "cell": _cell}
    text = files("knowledge_migration.engine.observability").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(contents=contents, overview=contents.overview)


def write(contents: Contents, path: Path) -> None:
    """Writes the page whole or not at all; raises `MigrationError` naming the file that cannot be written."""
    page = render(contents)
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MigrationError(f"The report cannot be written to {path}: {error.strerror}. Name another file.") from error


def _picture(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _cell(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    return str(value)
