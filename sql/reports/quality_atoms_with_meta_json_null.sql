-- Atoms whose meta is the JSON value null instead of the absence of one. json_typeof reads the first token only, so that
-- it does not stumble over what jsonb cannot hold. One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT id, left(title, 100) AS title FROM public.atoms WHERE json_typeof(meta) = 'null'
