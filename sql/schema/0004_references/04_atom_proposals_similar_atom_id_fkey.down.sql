-- ACCESS EXCLUSIVE on atom_proposals and atoms for a catalog change only.
ALTER TABLE public.atom_proposals DROP CONSTRAINT atom_proposals_similar_atom_id_fkey;
