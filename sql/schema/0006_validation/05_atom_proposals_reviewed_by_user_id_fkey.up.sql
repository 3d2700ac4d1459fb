-- SHARE UPDATE EXCLUSIVE on atom_proposals, ROW SHARE on users: reads and writes go on while it scans.
ALTER TABLE public.atom_proposals VALIDATE CONSTRAINT atom_proposals_reviewed_by_user_id_fkey;
