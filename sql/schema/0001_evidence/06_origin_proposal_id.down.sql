-- Removes the naming rule of backfilled proposals. Nothing of the user's.
DROP FUNCTION migration.origin_proposal_id(text, bigint);
