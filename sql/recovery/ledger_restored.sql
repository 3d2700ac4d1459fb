-- Whether row versions (xmin) no longer say which batch wrote a row, as after a restore from a dump: one transaction wrote the
-- pairs of several batches (or of a batch and the migration's run), or rows as well as proposals of several batches, or no
-- pair was written by one transaction at all. Then no entry may get a transaction of its own. Two hash joins.
WITH written AS MATERIALIZED (
    {written}
), pairs AS (
    SELECT min(written.row_version::text) AS version
    FROM written
    WHERE written.row_version = written.proposal_version
    GROUP BY written.entity, written.moment
), marks AS (
    SELECT pairs.version FROM pairs
    UNION ALL
    SELECT run.xmin::text FROM public.knowledge_extraction_runs AS run WHERE run.id = %(run)s
)
SELECT
    NOT EXISTS (SELECT FROM pairs)
    OR (SELECT count(*) > count(DISTINCT marks.version) FROM marks)
    OR (
        EXISTS (
            SELECT FROM written GROUP BY written.row_version::text
            HAVING count(DISTINCT (written.entity, written.moment)) > 1 AND min(written.row_version::text) IS NOT NULL
        )
        AND EXISTS (
            SELECT FROM written GROUP BY written.proposal_version::text
            HAVING count(DISTINCT (written.entity, written.moment)) > 1
        )
    ) AS restored
