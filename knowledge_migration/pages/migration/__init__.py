"""The migration page: the state of the migration, live, and what an admin may change from it."""
