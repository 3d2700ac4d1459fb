-- Removes the runs; the downgrade has refused or exported before if anything here exists nowhere else.
DROP TABLE public.knowledge_extraction_runs;
