-- Rows of {table} may be written without a proposal again. ACCESS EXCLUSIVE for a catalog change only.
ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint}
