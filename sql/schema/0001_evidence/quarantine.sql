-- name: up
-- Rows that cannot become a proposal as they are, with the reason, until an operator decides. A new table; no lock matters.
-- open: not migrated; retry: to be tried again under the policy; accepted: stays without a proposal by decision of an
-- operator; resolved: has its proposal now.
CREATE TABLE migration.quarantine (
    entity text NOT NULL CHECK (entity IN ('topic', 'atom')),
    row_id bigint NOT NULL,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'retry', 'accepted', 'resolved')),
    policy text NOT NULL DEFAULT 'as_it_is' CHECK (policy IN ('as_it_is', 'clamp_confidence')),
    sqlstate text NOT NULL,
    reason text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_at timestamptz,
    decided_by text,
    note text,
    PRIMARY KEY (entity, row_id)
);
CREATE INDEX quarantine_by_state ON migration.quarantine (entity, state, row_id);

-- name: down
-- Removes the quarantine list; the rows themselves were never changed.
DROP TABLE migration.quarantine;
