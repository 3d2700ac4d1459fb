-- Whether a pair `source`, `proposal` must be equal: nobody has written the row since it was linked. Its version is then
-- that of a batch, or that of a proposal written with it; any later UPDATE changes it, also one that forgets updated_at.
-- Where a restore has lost the versions, only updated_at can excuse a difference.
CASE WHEN %(versions_kept)s
    THEN source.row_version = proposal.xmin
         OR source.row_version IN (SELECT ledger.xmin FROM migration.backfill_batch AS ledger WHERE ledger.entity = %(entity)s)
    ELSE coalesce(source.updated_at <= source.migration_timestamp, true)
END
