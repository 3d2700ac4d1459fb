-- SHARE ROW EXCLUSIVE on atom_proposals and atoms: readers go on, writers wait for the catalog change only (NOT VALID: no scan).
ALTER TABLE public.atom_proposals
    ADD CONSTRAINT atom_proposals_similar_atom_id_fkey FOREIGN KEY (similar_atom_id)
    REFERENCES public.atoms (id) ON DELETE SET NULL NOT VALID;
