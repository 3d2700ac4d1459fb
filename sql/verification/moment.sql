-- Where this moment stands among the transactions of this cluster: every transaction below the horizon has ended and is seen.
-- Cluster and database say whose numbers these are; a restore elsewhere begins to count anew.
SELECT
    pg_snapshot_xmin(pg_current_snapshot())::text AS horizon,
    (SELECT control.system_identifier::text FROM pg_control_system() AS control) AS cluster,
    (SELECT own.oid::text FROM pg_database AS own WHERE own.datname = current_database()) AS database_oid
