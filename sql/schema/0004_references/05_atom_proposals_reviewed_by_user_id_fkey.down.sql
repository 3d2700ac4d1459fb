-- ACCESS EXCLUSIVE on atom_proposals and users for a catalog change only.
ALTER TABLE public.atom_proposals DROP CONSTRAINT atom_proposals_reviewed_by_user_id_fkey;
