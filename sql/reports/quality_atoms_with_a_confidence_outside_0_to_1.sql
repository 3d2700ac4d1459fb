-- Atoms whose confidence the proposal's CHECK refuses. 'NaN' sorts above every number, so that > 1 finds it as well.
-- One scan of atoms, ACCESS SHARE: reads and writes go on.
SELECT id, confidence, left(title, 100) AS title FROM public.atoms WHERE confidence < 0 OR confidence > 1
