-- The topics that a proposal is the origin of.
SELECT id FROM public.topics WHERE migrated_from_proposal_id = %(proposal)s ORDER BY id
