-- Proves it for the rows that are there. SHARE UPDATE EXCLUSIVE on {table}: reads and writes go on while it scans.
ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}
