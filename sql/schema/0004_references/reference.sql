-- name: up
-- SHARE ROW EXCLUSIVE on both tables for a catalog change only (NOT VALID: no scan); reads continue, writes wait.
ALTER TABLE {table}
    ADD CONSTRAINT {constraint} FOREIGN KEY ({column}) REFERENCES {referenced} (id) ON DELETE {on_delete} NOT VALID;

-- name: down
-- ACCESS EXCLUSIVE on both tables for a catalog change only.
ALTER TABLE {table} DROP CONSTRAINT {constraint};
