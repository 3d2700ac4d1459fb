-- Atoms with a value of more characters than the proposal's column takes; possible only where the user's is wider.
-- One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT
    id,
    concat_ws(
        ', ',
        CASE WHEN char_length(type) > %(atom_type_width)s THEN 'type: ' || char_length(type) END,
        CASE WHEN char_length(title) > %(atom_title_width)s THEN 'title: ' || char_length(title) END
    ) AS characters,
    left(title, 100) AS title
FROM public.atoms
WHERE char_length(type) > %(atom_type_width)s OR char_length(title) > %(atom_title_width)s
