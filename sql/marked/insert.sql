-- Messages of our own with these texts, by an existing author in an existing source; analysed already, so that no worker of the
-- application takes them up. Takes KEY SHARE on one row of each.
INSERT INTO public.messages (external_message_id, content, sent_at, source_id, author_id, analyzed)
SELECT %(name)s || '-' || text.number, text.content, now() AT TIME ZONE 'UTC', source.id, author.id, true
FROM unnest(%(contents)s::text[]) WITH ORDINALITY AS text (content, number),
     (SELECT id FROM public.sources ORDER BY id LIMIT 1) AS source,
     (SELECT id FROM public.users ORDER BY id LIMIT 1) AS author
RETURNING id
