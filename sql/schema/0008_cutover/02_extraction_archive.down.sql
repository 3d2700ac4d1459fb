-- Drops the archive; the rollback that runs this has refused or exported what it holds.
DROP TABLE public.knowledge_extraction_archive;
