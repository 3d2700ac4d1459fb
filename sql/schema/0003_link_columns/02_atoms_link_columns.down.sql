-- ACCESS EXCLUSIVE on atoms for a catalog change only; the values go, the rows are not rewritten.
ALTER TABLE public.atoms
    DROP COLUMN migrated_from_proposal_id,
    DROP COLUMN migration_timestamp;
