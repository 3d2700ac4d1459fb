"""Every rollback: flags, dual write, backfill, schema, full, restore; layered above the phases."""
