-- Whether the old paths are retired. FOR SHARE: whoever wants to open them waits for our transaction and sees the constraint
-- then; who was first is seen here.
SELECT coalesce((config ->> 'legacy_paths_retired')::boolean, false) AS retired, version
FROM public.feature_flags
WHERE name = %(flags)s
FOR SHARE
