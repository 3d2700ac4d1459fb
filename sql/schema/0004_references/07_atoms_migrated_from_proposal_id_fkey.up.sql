-- SHARE ROW EXCLUSIVE on atoms and atom_proposals: readers go on, writers wait for the catalog change only (NOT VALID: no scan).
ALTER TABLE public.atoms
    ADD CONSTRAINT atoms_migrated_from_proposal_id_fkey FOREIGN KEY (migrated_from_proposal_id)
    REFERENCES public.atom_proposals (id) NOT VALID;
