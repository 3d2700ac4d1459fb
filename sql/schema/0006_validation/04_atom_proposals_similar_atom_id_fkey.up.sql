-- SHARE UPDATE EXCLUSIVE on atom_proposals, ROW SHARE on atoms: reads and writes go on while it scans.
ALTER TABLE public.atom_proposals VALIDATE CONSTRAINT atom_proposals_similar_atom_id_fkey;
