-- Relations whose topic, atom or message topic does not exist (strategy, check 5). Anti-joins.
SELECT 'topic_atoms' AS relation, topic_atoms.topic_id AS from_id, topic_atoms.atom_id AS to_id
FROM public.topic_atoms
LEFT JOIN public.topics ON topics.id = topic_atoms.topic_id
LEFT JOIN public.atoms ON atoms.id = topic_atoms.atom_id
WHERE topics.id IS NULL OR atoms.id IS NULL
UNION ALL
SELECT 'atom_links', atom_links.from_atom_id, atom_links.to_atom_id
FROM public.atom_links
LEFT JOIN public.atoms AS origin ON origin.id = atom_links.from_atom_id
LEFT JOIN public.atoms AS target ON target.id = atom_links.to_atom_id
WHERE origin.id IS NULL OR target.id IS NULL
UNION ALL
SELECT 'messages', messages.id, messages.topic_id
FROM public.messages
LEFT JOIN public.topics ON topics.id = messages.topic_id
WHERE messages.topic_id IS NOT NULL AND topics.id IS NULL
