-- Puts the earlier rule back, for new rows. ACCESS EXCLUSIVE on atom_proposals for a catalog change only.
ALTER TABLE public.atom_proposals
    DROP CONSTRAINT confidence_is_stated_for_review,
    ADD CONSTRAINT confidence_is_stated CHECK (
        confidence IS NOT NULL OR coalesce(review_action, '') = 'auto_approve_migration'
    ) NOT VALID;
