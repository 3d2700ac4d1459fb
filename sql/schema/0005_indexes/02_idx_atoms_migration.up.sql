-- Outside a transaction: reads and writes go on. UNIQUE: no proposal can be the origin of two rows. Partial: a row that
-- the application writes directly (NULL link) does not touch it. Without it, undoing a backfill is quadratic.
CREATE UNIQUE INDEX CONCURRENTLY idx_atoms_migration ON public.atoms (migrated_from_proposal_id)
    WHERE migrated_from_proposal_id IS NOT NULL;
