-- name: up
-- Strategy §7.3, with a version that every change increments: a change by SQL, too, so that it leaves a version that no entry of
-- the audit log has, even if the values are set back or the row is deleted and inserted again. The service inserts a lost row
-- with the version NULL, which becomes the one last audited. A new table; locks nothing of the user's.
CREATE TABLE public.feature_flags (
    name varchar(100) PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT false,
    config jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);

CREATE FUNCTION migration.count_flag_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    audited bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.version := greatest(NEW.version, OLD.version + 1);
    ELSE
        SELECT (after->>'version')::bigint INTO audited
        FROM migration.audit_log WHERE subject = NEW.name AND action = 'set flags' ORDER BY id DESC LIMIT 1;
        NEW.version := CASE WHEN NEW.version IS NULL THEN coalesce(audited, 0) ELSE greatest(NEW.version, audited + 1) END;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE TRIGGER every_flag_change_has_a_version
    BEFORE INSERT OR UPDATE ON public.feature_flags
    FOR EACH ROW EXECUTE FUNCTION migration.count_flag_change();

-- name: down
-- Removes the flags: the application then behaves as before phase 1.
DROP TABLE public.feature_flags;
DROP FUNCTION IF EXISTS migration.count_flag_change();
