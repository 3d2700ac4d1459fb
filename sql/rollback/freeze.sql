-- Refuses new and newly reviewed proposals, so that what is exported is all. SHARE ROW EXCLUSIVE on this table only, with
-- a short lock_timeout; the application's direct writes go on, and so does a DELETE of a row that a proposal resembles.
CREATE OR REPLACE TRIGGER leaving BEFORE {events} ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION migration.refuse_while_leaving({pid})
