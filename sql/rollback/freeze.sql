-- Refuses new and newly reviewed proposals, so that what is exported is all. SHARE ROW EXCLUSIVE on these tables only;
-- the application's direct writes go on, and so does a DELETE of a row that a proposal resembles (it clears the
-- reference, which is an UPDATE, but not of the status).
CREATE OR REPLACE FUNCTION migration.refuse_while_leaving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the proposal tables are being removed: % on % is refused', TG_OP, TG_TABLE_NAME
        USING HINT = 'Switch the application to direct mode; an operator is rolling phase 1 back.';
END
$$;
CREATE OR REPLACE TRIGGER leaving BEFORE INSERT OR UPDATE OF status ON public.topic_proposals
    FOR EACH STATEMENT EXECUTE FUNCTION migration.refuse_while_leaving();
CREATE OR REPLACE TRIGGER leaving BEFORE INSERT OR UPDATE OF status ON public.atom_proposals
    FOR EACH STATEMENT EXECUTE FUNCTION migration.refuse_while_leaving();
CREATE OR REPLACE TRIGGER leaving BEFORE INSERT ON public.knowledge_extraction_runs
    FOR EACH STATEMENT EXECUTE FUNCTION migration.refuse_while_leaving();
