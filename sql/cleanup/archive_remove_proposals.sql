-- Removes the proposals of runs that were copied in this transaction. The reference of topics and atoms refuses a linked one.
DELETE FROM {proposals} WHERE extraction_run_id = ANY (%(runs)s)
