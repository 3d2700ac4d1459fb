-- The probe's message belongs to no topic any more.
UPDATE public.messages SET topic_id = NULL WHERE id = ANY (%(message_ids)s)
