-- name: up
-- SHARE ROW EXCLUSIVE for a catalog change only: reads continue, writes wait. Since it waits for every transaction that has
-- written the table, nothing is written beside the trigger from then on. OR REPLACE enables a disabled trigger again.
CREATE OR REPLACE TRIGGER {trigger} AFTER {event} ON {table}
    REFERENCING {transition} FOR EACH STATEMENT EXECUTE FUNCTION {function}();

-- name: down
-- ACCESS EXCLUSIVE for a catalog change only.
DROP TRIGGER {trigger} ON {table};
