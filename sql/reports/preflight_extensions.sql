-- Extensions that the legacy schema needs and this database has not. Reads the catalog only.
SELECT needed.name AS extension,
       coalesce((SELECT default_version FROM pg_available_extensions WHERE name = needed.name), 'not on this server') AS available
FROM unnest(ARRAY['vector']) AS needed (name)
WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = needed.name)
