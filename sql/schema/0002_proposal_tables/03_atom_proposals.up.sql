-- Strategy §3.1. The run is kept as long as its proposals are (RESTRICT, not CASCADE: it is their audit trail).
-- References to legacy tables come later as NOT VALID, one by one; a new table without them locks nothing of the user's.
-- confidence may be NULL only in backfilled rows whose source states none: certainty is not invented.
CREATE TABLE public.atom_proposals (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    extraction_run_id uuid NOT NULL REFERENCES public.knowledge_extraction_runs (id) ON DELETE RESTRICT,
    type varchar(20) NOT NULL,
    title varchar(200) NOT NULL,
    content text NOT NULL,
    meta jsonb,
    proposed_topic_ids jsonb,
    status varchar(50) NOT NULL DEFAULT 'pending',
    confidence double precision,
    reasoning text,
    similar_atom_id bigint,
    similarity_score double precision,
    similarity_type varchar(50),
    reviewed_by_user_id bigint,
    reviewed_at timestamptz,
    review_action varchar(50),
    review_notes text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT valid_confidence CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT confidence_is_stated CHECK (
        confidence IS NOT NULL OR coalesce(review_action, '') = 'auto_approve_migration'
    ),
    CONSTRAINT valid_similarity CHECK (similarity_score IS NULL OR (similarity_score >= 0 AND similarity_score <= 1)),
    CONSTRAINT valid_status CHECK (
        status IN ('pending', 'approved', 'auto_approved', 'rejected', 'merged', 'withdrawn', 'parked')
    ),
    CONSTRAINT valid_similarity_type CHECK (similarity_type IN ('exact', 'spelling', 'meaning')),
    CONSTRAINT valid_review_action CHECK (
        review_action IN (
            'approve', 'auto_approve', 'auto_approve_migration', 'dual_write',
            'reject', 'merge', 'undo', 'park', 'replay'
        )
    )
);
CREATE INDEX idx_atom_proposals_status_confidence ON public.atom_proposals (status, confidence DESC, id);
CREATE INDEX idx_atom_proposals_run_created ON public.atom_proposals (extraction_run_id, created_at DESC);
CREATE INDEX idx_atom_proposals_created ON public.atom_proposals (created_at DESC, id);
CREATE INDEX idx_atom_proposals_similar ON public.atom_proposals (similar_atom_id) WHERE similar_atom_id IS NOT NULL;
CREATE INDEX idx_atom_proposals_reviewer ON public.atom_proposals (reviewed_by_user_id) WHERE reviewed_by_user_id IS NOT NULL;
