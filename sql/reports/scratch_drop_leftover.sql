-- Drops the scratch database of a run that was killed. Without FORCE: the server refuses (55006) where a session is
-- connected, and a living run always has one.
DROP DATABASE IF EXISTS {scratch};
