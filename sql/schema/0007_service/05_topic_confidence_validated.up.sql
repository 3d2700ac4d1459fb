-- SHARE UPDATE EXCLUSIVE on topic_proposals: reads and writes go on while it scans.
ALTER TABLE public.topic_proposals VALIDATE CONSTRAINT confidence_is_stated_for_review;
