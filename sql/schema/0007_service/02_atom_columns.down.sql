-- ACCESS EXCLUSIVE on atom_proposals for a catalog change only.
ALTER TABLE public.atom_proposals DROP COLUMN entity_id, DROP COLUMN proposed_links;
