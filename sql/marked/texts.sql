-- Texts of the application's own latest messages, as realistic a load as there is.
SELECT content FROM public.messages WHERE length(content) BETWEEN 20 AND 4000 ORDER BY id DESC LIMIT %(limit)s
