-- What must not be: a topic or atom that came from an archived proposal, an archived run or proposal that is in its own table
-- too, and an archive that holds less or more than the audit log says was put into it. Reads the archive once.
WITH archived AS (
    SELECT archive.id AS run_id, 'topic' AS entity, (proposal.value ->> 'id')::uuid AS id
    FROM public.knowledge_extraction_archive AS archive, jsonb_array_elements(archive.topic_proposals) AS proposal
    UNION ALL
    SELECT archive.id, 'atom', (proposal.value ->> 'id')::uuid
    FROM public.knowledge_extraction_archive AS archive, jsonb_array_elements(archive.atom_proposals) AS proposal
), audited AS (
    SELECT coalesce(sum(sign * (after ->> 'runs')::bigint), 0) AS runs,
           coalesce(sum(sign * (after ->> 'topic_proposals')::bigint), 0) AS topic_proposals,
           coalesce(sum(sign * (after ->> 'atom_proposals')::bigint), 0) AS atom_proposals
    FROM migration.audit_log
    CROSS JOIN LATERAL (SELECT CASE action WHEN 'archive extractions' THEN 1 ELSE -1 END AS sign) AS direction
    WHERE subject = %(subject)s AND action IN ('archive extractions', 'restore archived extraction')
), held AS (
    SELECT count(*) AS runs, coalesce(sum(jsonb_array_length(topic_proposals)), 0) AS topic_proposals,
           coalesce(sum(jsonb_array_length(atom_proposals)), 0) AS atom_proposals
    FROM public.knowledge_extraction_archive
)
SELECT 'topic ' || row.id || ' came from it' AS problem, archived.run_id AS run, archived.id AS proposal
FROM archived
JOIN public.topics AS row ON row.migrated_from_proposal_id = archived.id
UNION ALL
SELECT 'atom ' || row.id || ' came from it', archived.run_id, archived.id
FROM archived
JOIN public.atoms AS row ON row.migrated_from_proposal_id = archived.id
UNION ALL
SELECT 'the run is in its own table too', run.id, NULL
FROM public.knowledge_extraction_archive AS archive
JOIN public.knowledge_extraction_runs AS run ON run.id = archive.id
UNION ALL
SELECT 'the proposal is in its own table too', archived.run_id, proposal.id
FROM archived
JOIN public.topic_proposals AS proposal ON proposal.id = archived.id
UNION ALL
SELECT 'the proposal is in its own table too', archived.run_id, proposal.id
FROM archived
JOIN public.atom_proposals AS proposal ON proposal.id = archived.id
UNION ALL
SELECT format(
    'the archive holds %%s runs, %%s and %%s proposals; the audit log says %%s, %%s and %%s',
    held.runs, held.topic_proposals, held.atom_proposals, audited.runs, audited.topic_proposals, audited.atom_proposals
), NULL, NULL
FROM held, audited
WHERE (held.runs, held.topic_proposals, held.atom_proposals)
    IS DISTINCT FROM (audited.runs, audited.topic_proposals, audited.atom_proposals)
