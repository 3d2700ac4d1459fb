-- Strategy §6.4: the share of proposals of proposal mode that needed no reviewer; and §11.2, metric 4: of those ever approved
-- automatically, the share that nobody has undone or rejected since. NULL where there is none (ERRATA V2). What was undone no
-- longer says so itself, so the audit log is asked, by its index on the subject. What a way back replayed was approved by nobody's confidence.
SELECT
    counted.entity AS label, counted.approved::double precision / nullif(counted.proposals, 0) AS rate,
    counted.approved::double precision / nullif(counted.approved + counted.undone, 0) AS accuracy
FROM (
    SELECT
        since.entity, count(*) AS proposals, count(*) FILTER (WHERE since.review_action = 'auto_approve') AS approved,
        count(*) FILTER (
            WHERE since.review_action IS DISTINCT FROM 'auto_approve' AND EXISTS (
                SELECT FROM migration.audit_log AS entry
                WHERE entry.subject = since.entity || ' proposal ' || since.id AND entry.action = 'auto_approve proposal'
            )
        ) AS undone
    FROM ({since}) AS since
    WHERE since.origin = 'proposal'
    GROUP BY since.entity
) AS counted
ORDER BY label
