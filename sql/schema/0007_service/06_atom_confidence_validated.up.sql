-- SHARE UPDATE EXCLUSIVE on atom_proposals: reads and writes go on while it scans.
ALTER TABLE public.atom_proposals VALIDATE CONSTRAINT confidence_is_stated_for_review;
