-- What must not be since the flags are as they are: rows above the backfill's bound that have been without a proposal for a
-- minute, approved proposals whose row exists and does not name them, extractions that recorded more proposals than there
-- are. Rows of the backfill are never among them. Primary keys, and the indexes on created_at of runs and proposals.
WITH unlinked AS (
    SELECT 'topic ' || id AS what FROM public.topics
    WHERE id > %(topics_above)s AND migrated_from_proposal_id IS NULL
      AND created_at > %(since)s AND created_at < %(until)s - interval '1 minute'
    UNION ALL
    SELECT 'atom ' || id FROM public.atoms
    WHERE id > %(atoms_above)s AND migrated_from_proposal_id IS NULL
      AND created_at > %(since)s AND created_at < %(until)s - interval '1 minute'
),
orphaned AS (
    SELECT 'topic proposal ' || proposal.id AS what
    FROM public.topic_proposals AS proposal
    LEFT JOIN public.topics AS made ON made.id = proposal.entity_id
    WHERE proposal.created_at > %(since)s AND proposal.status IN ('approved', 'auto_approved')
      AND CASE WHEN proposal.entity_id IS NULL
          THEN proposal.similarity_type IS DISTINCT FROM 'exact'
          ELSE made.id IS NOT NULL AND made.migrated_from_proposal_id IS DISTINCT FROM proposal.id
      END
      AND proposal.review_action IS DISTINCT FROM 'auto_approve_migration'
    UNION ALL
    SELECT 'atom proposal ' || proposal.id
    FROM public.atom_proposals AS proposal
    LEFT JOIN public.atoms AS made ON made.id = proposal.entity_id
    WHERE proposal.created_at > %(since)s AND proposal.status IN ('approved', 'auto_approved')
      AND CASE WHEN proposal.entity_id IS NULL
          THEN proposal.similarity_type IS DISTINCT FROM 'exact'
          ELSE made.id IS NOT NULL AND made.migrated_from_proposal_id IS DISTINCT FROM proposal.id
      END
      AND proposal.review_action IS DISTINCT FROM 'auto_approve_migration'
),
extractions AS (
    SELECT run.id, run.settings,
           (SELECT count(*) FROM public.topic_proposals WHERE extraction_run_id = run.id)
           + (SELECT count(*) FROM public.atom_proposals WHERE extraction_run_id = run.id) AS proposals
    FROM public.knowledge_extraction_runs AS run
    WHERE run.created_at > %(since)s AND run.status = 'completed' AND run.settings ->> 'mode' IN ('dual_write', 'proposal')
),
incomplete AS (
    SELECT 'extraction ' || id AS what
    FROM extractions
    WHERE proposals < coalesce((settings ->> 'topic_proposals')::bigint, 0)
                      + coalesce((settings ->> 'atom_proposals')::bigint, 0)
),
found AS (
    SELECT what FROM unlinked UNION ALL SELECT what FROM orphaned UNION ALL SELECT what FROM incomplete
)
SELECT (SELECT count(*) FROM extractions) AS sample, count(found.what) AS hits,
       (array_agg(found.what ORDER BY found.what))[1:10] AS first
FROM found
