-- name: up
-- Completed extraction runs whose proposals are not linked, each with its proposals. A new table; no lock matters.
CREATE TABLE public.knowledge_extraction_archive (
    id uuid PRIMARY KEY,
    archived_at timestamptz NOT NULL DEFAULT now(),
    run jsonb NOT NULL,
    topic_proposals jsonb NOT NULL,
    atom_proposals jsonb NOT NULL
);

-- name: down
-- Removes the archive. Before this runs, the schema rollback refuses, or exports its rows.
DROP TABLE public.knowledge_extraction_archive;
