-- Proposals that wait for review, and since when the oldest does. Through the indexes on status.
SELECT count(*) AS pending, min(proposal.created_at) AS oldest FROM {proposals} AS proposal WHERE proposal.status = 'pending'
