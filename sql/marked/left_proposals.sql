-- What is left of the proposals of these runs.
SELECT proposal.id FROM {proposals} AS proposal WHERE proposal.extraction_run_id = ANY (%(run_ids)s) ORDER BY proposal.id
