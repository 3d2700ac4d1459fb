-- ACCESS EXCLUSIVE on atoms and atom_proposals for a catalog change only.
ALTER TABLE public.atoms DROP CONSTRAINT atoms_migrated_from_proposal_id_fkey;
