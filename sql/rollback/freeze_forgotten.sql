-- Removes what froze the proposal tables, after they are gone.
DROP FUNCTION IF EXISTS migration.refuse_while_leaving();
