-- Removes the list of failed shadows. Nothing of the user's.
DROP TABLE migration.shadow_failure;
