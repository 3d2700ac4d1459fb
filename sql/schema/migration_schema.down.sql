-- Drops our own schema with all that it holds: ledger, audit log and evidence of this migration. Nothing of the user's.
DROP SCHEMA migration CASCADE;
