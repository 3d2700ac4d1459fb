-- Keeps one measurement.
INSERT INTO migration.evidence (kind, content, dagster_run_id) VALUES (%(kind)s, %(content)s, %(dagster_run_id)s)
