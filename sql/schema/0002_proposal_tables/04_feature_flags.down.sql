-- Removes the flags: the application then behaves as before phase 1.
DROP TABLE public.feature_flags;
