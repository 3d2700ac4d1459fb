-- Links from an atom to itself. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT from_atom_id, to_atom_id, link_type FROM (SELECT * FROM {batch}) AS links WHERE from_atom_id = to_atom_id
