-- Topics whose colour is not # and six hexadecimal digits ("emerald" fits the column too).
-- One scan of topics, ACCESS SHARE: reads and writes go on.
SELECT id, left(name, 100) AS name, left(color, 40) AS color
FROM public.topics
WHERE color !~ '^#[0-9A-Fa-f]+$' OR char_length(color) <> 7
