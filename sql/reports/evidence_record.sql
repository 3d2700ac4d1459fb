-- Keeps one measurement.
INSERT INTO migration.evidence (kind, content, plan_hash, dagster_run_id)
VALUES (%(kind)s, %(content)s, %(plan_hash)s, %(dagster_run_id)s)
