-- Removes the quarantine list; the rows themselves were never touched. Nothing of the user's.
DROP TABLE migration.quarantine;
