-- The latest verdict of each metric in the given states, each found through the index by stage and metric.
SELECT DISTINCT ON (metric.name) metric.name AS metric, latest.*
FROM unnest(%(metrics)s::text[]) AS metric (name)
CROSS JOIN unnest(%(states)s::text[]) AS state (name)
CROSS JOIN LATERAL (
    SELECT judged.at, judged.stage, judged.verdict, judged.value, judged.threshold, judged.sample_size, judged.detail, judged.id
    FROM migration.gate_evaluation AS judged
    WHERE judged.stage = state.name AND judged.metric = metric.name
    ORDER BY judged.id DESC
    LIMIT 1
) AS latest
ORDER BY metric.name, latest.id DESC
