-- name: up
-- Who did what, when and why. Append-only: a trigger rejects UPDATE, DELETE and TRUNCATE. A new table; no lock matters.
CREATE TABLE migration.audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    before jsonb,
    after jsonb,
    reason text,
    dagster_run_id text
);
CREATE INDEX audit_log_by_subject ON migration.audit_log (subject, id DESC);

CREATE FUNCTION migration.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'migration.audit_log is append-only: % is refused', TG_OP
        USING HINT = 'Write a new entry that explains the correction.';
END
$$;

CREATE TRIGGER audit_log_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON migration.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION migration.refuse_change();

-- The hash of a stretch of entries after the hash of the one before: a chain, whose links are sealed in the evidence.
CREATE FUNCTION migration.audit_chain(previous text, above bigint, through bigint) RETURNS text
LANGUAGE sql STABLE
RETURN (
    SELECT encode(sha256(convert_to(previous || coalesce(string_agg(entry.hash, '' ORDER BY entry.id), ''), 'UTF8')), 'hex')
    FROM (
        SELECT id, md5(jsonb_build_array(
            id, extract(epoch FROM at), actor, action, subject, before, after, reason, dagster_run_id
        )::text) AS hash
        FROM migration.audit_log
        WHERE id > above AND id <= through
    ) AS entry
);

-- name: down
-- Removes the audit log with its trigger function.
DROP FUNCTION migration.audit_chain(text, bigint, bigint);
DROP TABLE migration.audit_log;
DROP FUNCTION migration.refuse_change();
