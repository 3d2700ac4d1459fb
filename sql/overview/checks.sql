-- The latest evaluation of each asset check, from Dagster's own tables: whether it passed, how severe it is, what it said. A check
-- that was planned only, or broke off, has not passed. Looks at the newest executions only, so it stays as fast as they grow.
SELECT
    replace(trim(BOTH '[]"' FROM found.asset_key), '", "', '/') AS asset, found.check_name AS name, found.execution_status AS status,
    coalesce(found.evaluation_event_timestamp, found.create_timestamp) AT TIME ZONE 'UTC' AS at,
    found.evaluation_event::jsonb #>> ARRAY['dagster_event', 'event_specific_data', 'severity', '__enum__'] AS severity,
    found.evaluation_event::jsonb #>> ARRAY['dagster_event', 'event_specific_data', 'description'] AS words
FROM asset_check_executions AS found
WHERE found.id IN (
    SELECT max(newest.id) FROM (
        SELECT one.id, one.asset_key, one.check_name FROM asset_check_executions AS one ORDER BY one.id DESC LIMIT 20000
    ) AS newest
    GROUP BY newest.asset_key, newest.check_name
)
ORDER BY asset, name
