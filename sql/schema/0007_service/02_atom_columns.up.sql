-- The row that an atom proposal became (see topic_proposals), and the links to other atoms that its approval makes: a list of
-- objects with the other proposal and the link type. ACCESS EXCLUSIVE on atom_proposals for a catalog change only.
ALTER TABLE public.atom_proposals ADD COLUMN entity_id bigint, ADD COLUMN proposed_links jsonb;
