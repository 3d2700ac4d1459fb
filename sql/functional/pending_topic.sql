-- A pending topic proposal of one run whose name holds the validation's own word.
SELECT id FROM public.topic_proposals
WHERE extraction_run_id = %(run)s AND status = 'pending' AND name ILIKE %(name)s
ORDER BY id LIMIT 1
