"""The code location: everything in `defs/`, loaded by Dagster."""

from pathlib import Path

import dagster as dg

from knowledge_migration.defs.attributes import with_common_attributes


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of production; tests run the same and replace resources."""
    return with_common_attributes(dg.load_from_defs_folder(path_within_project=Path(__file__).parent))
