-- One message of the probe's own, by an existing author in an existing source. Takes KEY SHARE on one row of each.
INSERT INTO public.messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT %(name)s, %(content)s, now() AT TIME ZONE 'UTC', source.id, author.id, false
FROM (SELECT id FROM public.sources ORDER BY id LIMIT 1) AS source,
     (SELECT id FROM public.users ORDER BY id LIMIT 1) AS author
RETURNING id, author_id
