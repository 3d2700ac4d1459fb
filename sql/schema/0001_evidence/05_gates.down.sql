-- Removes gate verdicts and heartbeats. Nothing of the user's.
DROP TABLE migration.gate_evaluation;
DROP TABLE migration.writer_heartbeat;
