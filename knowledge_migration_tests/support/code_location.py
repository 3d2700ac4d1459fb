"""The code location as production loads it with the demonstration, once per process: loading takes 0.6 s."""

import os
from functools import cache
from unittest import mock

import dagster as dg

from knowledge_migration.definitions import defs


@cache
def definitions() -> dg.Definitions:
    """The definitions of an installation that names no database."""
    with mock.patch.dict(os.environ):
        os.environ.pop("KNOWLEDGE_MIGRATION_DATABASE_URL", None)
        return defs()
