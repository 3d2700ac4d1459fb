-- The rule of the freeze: what the trigger names is refused while the session with that pid does exclusive work here. With
-- the session the freeze ends, however its process dies. Reads pg_locks; locks nothing of the user's.
CREATE OR REPLACE FUNCTION migration.refuse_while_leaving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND pid = TG_ARGV[0]::integer
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ) THEN
        RAISE EXCEPTION 'the proposal tables are being removed: % on % is refused', TG_OP, TG_TABLE_NAME
            USING HINT = 'Switch the application to direct mode; an operator is rolling phase 1 back.';
    END IF;
    RETURN NULL;
END
$$;
