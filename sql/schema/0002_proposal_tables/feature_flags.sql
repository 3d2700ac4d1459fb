-- name: up
-- Strategy §7.3, with a version that every change increments: a change by SQL, too, so that it leaves a version that no entry of
-- the audit log has, even if the values are set back. A new table; locks nothing of the user's.
CREATE TABLE public.feature_flags (
    name varchar(100) PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT false,
    config jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);

CREATE FUNCTION migration.count_flag_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := greatest(NEW.version, OLD.version + 1);
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;

CREATE TRIGGER every_flag_change_has_a_version
    BEFORE UPDATE ON public.feature_flags
    FOR EACH ROW EXECUTE FUNCTION migration.count_flag_change();

-- name: down
-- Removes the flags: the application then behaves as before phase 1.
DROP TABLE public.feature_flags;
DROP FUNCTION IF EXISTS migration.count_flag_change();
