-- Texts of the latest messages, for a measurement that writes nothing that stays. Walks the primary key backwards.
SELECT content FROM public.messages WHERE content <> '' ORDER BY id DESC LIMIT %(messages)s
