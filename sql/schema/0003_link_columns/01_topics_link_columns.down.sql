-- ACCESS EXCLUSIVE on topics for a catalog change only; the values go, the rows are not rewritten.
ALTER TABLE public.topics
    DROP COLUMN migrated_from_proposal_id,
    DROP COLUMN migration_timestamp;
