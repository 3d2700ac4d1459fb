-- Removes the evidence of this migration. Nothing of the user's.
DROP TABLE migration.evidence;
