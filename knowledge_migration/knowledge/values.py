"""The valid values of topics, atoms and proposals: what PostgreSQL can store, within the widths of the columns."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from knowledge_migration.value_loaders import DEEPEST_JSON

LONGEST_TEXT = 100_000
LONGEST_REASON = 2_000
LOWEST_ID, HIGHEST_ID = -(2**63), 2**63 - 1
"""The ids that a bigint holds: a sequence may have been started anywhere."""


def storable(text: str) -> str:
    """Returns the text; raises `ValueError` where UTF-8 or PostgreSQL cannot store it."""
    if "\x00" in text:
        raise ValueError("must not hold a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must not hold half of a surrogate pair") from error
    return text


def storable_json(value: Any, *, depth: int = 0) -> Any:
    """Returns the value; raises `ValueError` where it is no JSON or PostgreSQL cannot store it."""
    if depth > DEEPEST_JSON:
        raise ValueError(f"must not be nested deeper than {DEEPEST_JSON}")
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not hold a number that is not finite")
    if isinstance(value, dict):
        return {_key(key): storable_json(item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [storable_json(item, depth=depth + 1) for item in value]
    if value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"must hold JSON only, not a {type(value).__name__}")
    return value


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError("must have texts as the names of its members")
    return storable(key)


Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(storable)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(storable)]
Icon = Annotated[str, StringConstraints(max_length=50), AfterValidator(storable)]
Color = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$")]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Meta = Annotated[dict[str, Any], AfterValidator(storable_json)]
