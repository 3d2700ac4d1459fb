-- Whether the demonstration was loaded: it is loaded in one transaction, so any topic means all of it.
SELECT 1 AS one FROM public.topics LIMIT 1
