-- name: up
-- Strategy §3.1, with created_at (three of its statements need it). A new table without references; locks nothing.
CREATE TABLE public.knowledge_extraction_runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    status varchar(50) NOT NULL DEFAULT 'pending',
    message_ids jsonb NOT NULL,
    message_count integer NOT NULL,
    time_span_seconds integer,
    settings jsonb,
    started_at timestamptz DEFAULT now(),
    completed_at timestamptz,
    error_message text,
    created_by_user_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT valid_run_status CHECK (status IN ('pending', 'running', 'completed', 'failed'))
);
CREATE INDEX idx_knowledge_runs_status ON public.knowledge_extraction_runs (status);
CREATE INDEX idx_knowledge_runs_created ON public.knowledge_extraction_runs (created_at DESC, id DESC);
CREATE INDEX idx_knowledge_runs_creator ON public.knowledge_extraction_runs (created_by_user_id);

-- name: down
-- Removes the runs. Before this runs, the schema rollback refuses, or exports rows that exist nowhere else.
DROP TABLE public.knowledge_extraction_runs;
