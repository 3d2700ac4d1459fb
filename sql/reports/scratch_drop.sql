-- Drops a scratch database of this run, sessions included. The name is one that this run made up.
DROP DATABASE IF EXISTS {scratch} WITH (FORCE);
