-- Removes the rule of the freeze with what is left of its triggers, after the proposal tables are gone.
DROP FUNCTION IF EXISTS migration.refuse_while_leaving();
