-- A schema of our own for the evidence, so that dropping it leaves the application untouched. It holds Alembic's version table too, so it stands before the first revision. Locks nothing of the user's.
CREATE SCHEMA IF NOT EXISTS migration;
