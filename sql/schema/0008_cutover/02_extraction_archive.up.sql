-- Extraction runs that are over and whose proposals nobody links, each with its proposals as they were. A new table: no lock
-- matters.
CREATE TABLE public.knowledge_extraction_archive (
    id uuid PRIMARY KEY,
    archived_at timestamptz NOT NULL DEFAULT now(),
    run jsonb NOT NULL,
    topic_proposals jsonb NOT NULL,
    atom_proposals jsonb NOT NULL
);
