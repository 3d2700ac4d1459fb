-- name: up
-- Strategy §3.1, for topics and atoms. RESTRICT, not CASCADE: the run of a proposal is part of its audit trail. References
-- to legacy tables are added later, NOT VALID, one per step; a new table without them locks nothing of the user's.
-- confidence may be NULL in a copy of a row that states none; a proposal that waits for a review must state it.
-- entity_id is the row that a proposal became. It is no reference: it stays when a user deletes that row later.
-- _status_created keeps pages of pending proposals fast (209 ms a page of a million proposals without it, 5 ms with it).
CREATE TABLE public.{entity}_proposals (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    extraction_run_id uuid NOT NULL REFERENCES public.knowledge_extraction_runs (id) ON DELETE RESTRICT,
    {columns}
    status varchar(50) NOT NULL DEFAULT 'pending',
    confidence double precision,
    reasoning text,
    similar_{entity}_id bigint,
    similarity_score double precision,
    similarity_type varchar(50),
    reviewed_by_user_id bigint,
    reviewed_at timestamptz,
    review_action varchar(50),
    review_notes text,
    entity_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT valid_confidence CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT confidence_is_stated_for_review CHECK (confidence IS NOT NULL OR status <> 'pending'),
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
CREATE INDEX idx_{entity}_proposals_status_confidence ON public.{entity}_proposals (status, confidence DESC, id);
CREATE INDEX idx_{entity}_proposals_status_created ON public.{entity}_proposals (status, created_at DESC, id);
CREATE INDEX idx_{entity}_proposals_run_created ON public.{entity}_proposals (extraction_run_id, created_at DESC);
CREATE INDEX idx_{entity}_proposals_created ON public.{entity}_proposals (created_at DESC, id);
CREATE INDEX idx_{entity}_proposals_similar ON public.{entity}_proposals (similar_{entity}_id)
    WHERE similar_{entity}_id IS NOT NULL;
CREATE INDEX idx_{entity}_proposals_reviewer ON public.{entity}_proposals (reviewed_by_user_id)
    WHERE reviewed_by_user_id IS NOT NULL;

-- name: down
-- Removes the proposals. Before this runs, the schema rollback refuses, or exports rows that exist nowhere else.
DROP TABLE public.{entity}_proposals;

-- name: topic_columns
-- The values of a proposed topic, and the messages that mention it.
    name varchar(100) NOT NULL,
    description text NOT NULL,
    icon varchar(50),
    color varchar(7),
    message_ids jsonb,

-- name: atom_columns
-- The values of a proposed atom, its topics (a number is a topic, a string a topic proposal), and the links to other atoms
-- that its approval creates: objects with the other proposal and the link type.
    type varchar(20) NOT NULL,
    title varchar(200) NOT NULL,
    content text NOT NULL,
    meta jsonb,
    proposed_topic_ids jsonb,
    proposed_links jsonb,
