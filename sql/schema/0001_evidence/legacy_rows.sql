-- name: up
-- Key, hash and stamp of each legacy row at the latest fingerprint, one entry per range of keys. A new table; no lock matters.
CREATE TABLE migration.legacy_rows (
    taken_at timestamptz NOT NULL,
    table_name text NOT NULL,
    first_key bigint NOT NULL,
    keys bigint[] NOT NULL,
    hashes bigint[] NOT NULL,
    stamps double precision[] NOT NULL,
    PRIMARY KEY (taken_at, table_name, first_key)
);

-- name: down
-- Removes the rows of the fingerprint.
DROP TABLE migration.legacy_rows;
