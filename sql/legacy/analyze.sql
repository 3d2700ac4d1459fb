-- Statistics of what was just copied in.
ANALYZE public.users, public.sources, public.topics, public.messages, public.atoms, public.topic_atoms, public.atom_links
