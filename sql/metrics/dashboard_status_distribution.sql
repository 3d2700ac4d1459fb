-- Strategy §6.4 and §11.2, metric 1: proposals by status with their average confidence, per kind and origin (ERRATA V1, V21).
SELECT concat_ws('/', since.entity, since.origin, since.status) AS label, count(*) AS proposals,
       round(avg(since.confidence)::numeric, 4)::double precision AS average_confidence
FROM ({since}) AS since
GROUP BY since.entity, since.origin, since.status
ORDER BY label
