-- Which of these exist. Uses the primary key.
SELECT id FROM public.topic_proposals WHERE id = ANY (%(ids)s)
