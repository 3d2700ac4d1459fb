-- name: up
-- Refuses a batch that inserted proposals for rows that its UPDATE did not change (a trigger or a rule of the user's suppressed it
-- without an error), or whose UPDATE changed other columns. Returns the number of linked rows. Locks nothing of the user's.
CREATE FUNCTION migration.require_linked(taken bigint, linked bigint, altered bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF linked < taken THEN
        RAISE EXCEPTION 'the UPDATE that links a row was suppressed without an error' USING ERRCODE = 'KM001';
    END IF;
    IF altered > 0 THEN
        RAISE EXCEPTION 'the UPDATE that links a row also changed other columns of it' USING ERRCODE = 'KM002';
    END IF;
    RETURN linked;
END
$$;

-- name: down
-- Removes the function that refuses suppressed updates.
DROP FUNCTION migration.require_linked(bigint, bigint, bigint);
