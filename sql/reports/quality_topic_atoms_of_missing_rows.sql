-- Pairs of topic and atom of which one does not exist; a valid foreign key prevents it.
-- Hash joins over the primary keys, ACCESS SHARE on the three tables: reads and writes go on.
SELECT
    topic_atoms.topic_id,
    topic_atoms.atom_id,
    concat_ws(', ', CASE WHEN topics.id IS NULL THEN 'topic' END, CASE WHEN atoms.id IS NULL THEN 'atom' END) AS missing
FROM public.topic_atoms
LEFT JOIN public.topics ON topics.id = topic_atoms.topic_id
LEFT JOIN public.atoms ON atoms.id = topic_atoms.atom_id
WHERE topics.id IS NULL OR atoms.id IS NULL
