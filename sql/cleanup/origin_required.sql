-- From here on no row is written to {table} without its proposal. ACCESS EXCLUSIVE for a catalog change only: NOT VALID does
-- not scan.
ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK (migrated_from_proposal_id IS NOT NULL) NOT VALID
