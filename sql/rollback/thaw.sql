-- Lets writes to the proposal tables through again after a refused rollback.
DROP TRIGGER IF EXISTS leaving ON public.topic_proposals;
DROP TRIGGER IF EXISTS leaving ON public.atom_proposals;
DROP TRIGGER IF EXISTS leaving ON public.knowledge_extraction_runs;
DROP FUNCTION IF EXISTS migration.refuse_while_leaving();
