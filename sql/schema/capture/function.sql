-- name: up
-- A trigger function of the capture: the work of one statement of a user's, in one subtransaction, so that a failure never
-- reaches that statement; the failure is recorded, and a sweep links the rows later. Its owner has the rights, so that the
-- writers need none. Sessions of the migration, and those of the service that write proposals themselves, switch it off.
-- Plans are cached per session, so they must suit one row as well as 100,000: no scan of a whole table. Locks nothing of
-- the user's.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off {settings} AS $capture$
DECLARE
    failure_state text;
    failure_message text;
    done boolean;
BEGIN
    IF current_setting('knowledge_migration.capture', true) = 'off' OR NOT EXISTS ({concerned}) THEN
        RETURN NULL;
    END IF;
    BEGIN
        {work};
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS failure_state = RETURNED_SQLSTATE, failure_message = MESSAGE_TEXT;
        BEGIN
            INSERT INTO migration.capture_log (entity, operation, sqlstate, reason)
            VALUES ({entity}, TG_OP || ' on ' || TG_TABLE_NAME, failure_state, left(failure_message, 300));
        EXCEPTION WHEN OTHERS THEN
            RAISE LOG 'knowledge_migration: the capture of a statement on % failed: % %',
                TG_TABLE_NAME, failure_state, failure_message;
        END;
    END;
    RETURN NULL;
END
$capture$;

-- name: down
-- Removes the function after its trigger.
DROP FUNCTION {function}();
