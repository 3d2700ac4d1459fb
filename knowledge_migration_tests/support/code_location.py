"""The code location as production loads it, once per process: loading takes 0.6 s."""

from functools import cache

import dagster as dg

from knowledge_migration.definitions import defs


@cache
def definitions() -> dg.Definitions:
    """The definitions of production."""
    return defs()
