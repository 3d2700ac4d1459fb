-- Strategy §7.3, with a version that each change raises. A new table: it locks nothing of the user's.
CREATE TABLE public.feature_flags (
    name varchar(100) PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT false,
    config jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
