-- Topics with a value of more characters than the proposal's column takes; possible only where the user's is wider.
-- One scan of topics, ACCESS SHARE: reads and writes go on.
SELECT
    id,
    concat_ws(
        ', ',
        CASE WHEN char_length(name) > %(topic_name_width)s THEN 'name: ' || char_length(name) END,
        CASE WHEN char_length(icon) > %(topic_icon_width)s THEN 'icon: ' || char_length(icon) END,
        CASE WHEN char_length(color) > %(topic_color_width)s THEN 'color: ' || char_length(color) END
    ) AS characters,
    left(name, 100) AS name
FROM public.topics
WHERE
    char_length(name) > %(topic_name_width)s
    OR char_length(icon) > %(topic_icon_width)s
    OR char_length(color) > %(topic_color_width)s
