-- Messages that name a topic which does not exist; a valid foreign key prevents it.
-- Hash anti join over the primary key of topics, ACCESS SHARE on both tables: reads and writes go on.
SELECT messages.id, messages.topic_id
FROM public.messages
WHERE
    messages.topic_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM public.topics WHERE topics.id = messages.topic_id)
