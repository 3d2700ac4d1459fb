-- Reads no table: as slow as the machine is, whatever the locks are.
SELECT 1
