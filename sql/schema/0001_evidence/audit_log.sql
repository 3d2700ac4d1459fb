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

-- name: down
-- Removes the audit log with its trigger function.
DROP TABLE migration.audit_log;
DROP FUNCTION migration.refuse_change();
