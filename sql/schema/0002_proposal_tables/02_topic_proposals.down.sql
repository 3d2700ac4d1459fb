-- Removes the topic proposals; the downgrade has refused or exported before if any exists nowhere else.
DROP TABLE public.topic_proposals;
