"""The user's own suites: a folder of JSON files in the notation of Great Expectations, each with the table it is about.

    {"table": "topics", "expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {"column": "name"},
                                          "severity": "warning"}]}

What Great Expectations itself writes of a suite (`name`, `id`, `meta`, `notes`, and of an expectation `id`, `meta`)
may stand there too; a `description` is shown in place of the expectation. A file that cannot be used as it is is refused
with its name: a suite that is left out would read as met.
"""

import json
from pathlib import Path
from typing import Any

from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.quality.model import SEVERITIES, Expectation, Suite

REMEDY = "see the suite's file"


def read_suites(folder: Path | None) -> tuple[Suite, ...]:
    """The suites of the folder, by file name; none when no folder is named.

    Raises `PreconditionError` naming the file and what is wrong with it, or the folder when it holds no suite.
    """
    if folder is None:
        return ()
    found = sorted(folder.expanduser().glob("*.json"))
    if not found:
        raise PreconditionError(
            f"KNOWLEDGE_MIGRATION_SUITES names {folder}, which holds no .json file. Put the suites there, or unset it."
        )
    return tuple(_read(file) for file in found)


def _read(file: Path) -> Suite:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(file, f"it is no readable JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("table"), str) or not content["table"].strip():
        raise _refused(file, 'it is no object with a "table"')
    listed = content.get("expectations")
    if not isinstance(listed, list) or not listed:
        raise _refused(file, 'it has no "expectations"')
    schema, _, table = content["table"].strip().rpartition(".")
    expectations = tuple(_expectation(file, place, one) for place, one in enumerate(listed, 1))
    return Suite(file.stem, table, expectations, schema=schema or "public", file=str(file))


def _expectation(file: Path, place: int, given: Any) -> Expectation:
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise _refused(file, f'its expectation {place} has no "type"')
    kwargs, severity = given.get("kwargs"), given.get("severity", "critical")
    if not isinstance(kwargs, dict):
        raise _refused(file, f'its expectation {place} ({given["type"]}) has no "kwargs"')
    if severity not in SEVERITIES:
        raise _refused(file, f"the severity of its expectation {place} is none of {', '.join(SEVERITIES)}")
    return Expectation(given["type"], kwargs, severity, _rule(given, kwargs), REMEDY)


def _rule(given: dict[str, Any], kwargs: dict[str, Any]) -> str:
    """The user's own words, or the expectation as it is written."""
    if given.get("description"):
        return str(given["description"])
    named = ", ".join(f"{name} {value}" for name, value in kwargs.items())
    return f"{given['type'].replace('_', ' ')}: {named}"


def _refused(file: Path, reason: str) -> PreconditionError:
    return PreconditionError(f"The suite {file} cannot be used: {reason}. Correct the file, then validate again.")
