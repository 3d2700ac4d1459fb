-- Our own messages; nobody else's.
DELETE FROM public.messages WHERE id = ANY (%(message_ids)s)
