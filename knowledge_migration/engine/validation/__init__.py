"""Everything that verifies the migration at any time; layered above the phases."""
