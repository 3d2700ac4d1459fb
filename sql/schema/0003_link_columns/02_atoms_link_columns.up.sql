-- Strategy §3.1. ACCESS EXCLUSIVE on atoms for a catalog change only: nullable, no default, no reference, so no scan
-- and no rewrite (2.5 ms at 2 M rows). Run with a short lock_timeout and retries: a waiting one would block all readers.
ALTER TABLE public.atoms
    ADD COLUMN migrated_from_proposal_id uuid,
    ADD COLUMN migration_timestamp timestamptz;
