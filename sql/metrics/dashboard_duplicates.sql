-- Strategy §11.2, metric 3: the share of proposals that resemble something that is there, and how much they do, per kind and
-- origin. NULL where nothing does (ERRATA V2).
SELECT
    concat_ws('/', since.entity, since.origin) AS label, count(*) FILTER (WHERE since.similar)::double precision / nullif(count(*), 0) AS rate,
    avg(since.similarity_score) FILTER (WHERE since.similar) AS average_score
FROM ({since}) AS since
GROUP BY since.entity, since.origin
ORDER BY label
