-- A copy of a row that a user wrote by hand states no confidence either; what waits for a review must. Replaces the rule that
-- knew backfilled rows only. ACCESS EXCLUSIVE on topic_proposals for a catalog change only (NOT VALID: no scan).
ALTER TABLE public.topic_proposals
    -- squawk-ignore ban-drop-constraint
    DROP CONSTRAINT IF EXISTS confidence_is_stated,
    ADD CONSTRAINT confidence_is_stated_for_review CHECK (confidence IS NOT NULL OR status <> 'pending') NOT VALID;
