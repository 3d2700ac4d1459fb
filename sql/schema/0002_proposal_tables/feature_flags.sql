-- name: up
-- Strategy §7.3, with a version that every change increments. A new table; locks nothing of the user's.
CREATE TABLE public.feature_flags (
    name varchar(100) PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT false,
    config jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);

-- name: down
-- Removes the flags: the application then behaves as before phase 1.
DROP TABLE public.feature_flags;
