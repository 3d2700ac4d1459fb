-- Atoms whose meta is valid json but not valid jsonb: an escaped NUL (SQLSTATE 22P05) or half of a surrogate pair (22P02).
-- By text, because a cast would fail on the first such row and pg_input_is_valid only exists from PostgreSQL 16. Escaped
-- backslashes are blanked first, so that a backslash followed by the letters u0000 is not taken for the escape; then
-- whole surrogate pairs, so that what remains of surrogates is a half. A number beyond numeric's range (1e131072) is left
-- to the backfill, which puts the row in quarantine when it meets it.
-- One scan of atoms with its meta, ACCESS SHARE: reads and writes go on.
SELECT id, left(meta::text, 200) AS meta, left(title, 100) AS title
FROM public.atoms
WHERE regexp_replace(
    replace(meta::text, '\\', ' '),
    '\\ud[89ab][0-9a-f][0-9a-f]\\ud[c-f][0-9a-f][0-9a-f]', ' ', 'gi'
) ~* '\\u(0000|d[89a-f])'
