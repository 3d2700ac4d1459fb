-- Outside a transaction: reads and writes go on. The primary key begins with topic_id, so an atom's topics could only be
-- found by reading the whole table, once per batch; the application's DELETE of an atom gains from it too.
CREATE INDEX CONCURRENTLY idx_topic_atoms_atom ON public.topic_atoms (atom_id);
