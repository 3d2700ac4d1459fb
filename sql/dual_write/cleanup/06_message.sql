-- The probe's own message.
DELETE FROM public.messages WHERE id = ANY (%(message_ids)s)
