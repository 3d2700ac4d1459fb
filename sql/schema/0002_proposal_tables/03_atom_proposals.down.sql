-- Removes the atom proposals; the downgrade has refused or exported before if any exists nowhere else.
DROP TABLE public.atom_proposals;
