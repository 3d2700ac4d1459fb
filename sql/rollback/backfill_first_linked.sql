-- The first row that still names a proposal of the migration's run; NULL when none does. Relies on the index of runs in
-- the proposals and on the unique index of the link.
SELECT min(source.id) AS first_id
FROM {proposals} AS proposal
JOIN {table} AS source ON source.migrated_from_proposal_id = proposal.id
WHERE proposal.extraction_run_id = %(run)s
