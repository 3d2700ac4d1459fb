-- SHARE UPDATE EXCLUSIVE on atoms, ROW SHARE on atom_proposals: reads and writes go on while it scans.
ALTER TABLE public.atoms VALIDATE CONSTRAINT atoms_migrated_from_proposal_id_fkey;
