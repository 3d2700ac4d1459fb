-- name: up
-- SHARE UPDATE EXCLUSIVE on the table, ROW SHARE on the referenced one: reads and writes continue during the scan.
ALTER TABLE {table} VALIDATE CONSTRAINT {constraint};

-- name: down
-- Nothing to revert: the reversal of the step that added the constraint drops it.
SELECT 1;
