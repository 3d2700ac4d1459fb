"""One module a revision, in order; what a revision does stands in `schema_steps` and `sql/schema/`."""
