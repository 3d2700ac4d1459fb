-- Tables of the legacy schema that this database already has. Reads the catalog only.
SELECT relname AS name FROM pg_class
WHERE relnamespace = 'public'::regnamespace
  AND relname IN ('users', 'sources', 'telegram_profiles', 'messages', 'topics', 'atoms', 'topic_atoms', 'atom_links')
