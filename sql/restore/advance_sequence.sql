-- Takes a sequence on to the last number that it gave elsewhere, so that none is given twice. Never back.
SELECT setval({sequence_name}::regclass, %(last)s)
FROM {sequence} AS here
WHERE (%(last)s - here.last_value) * sign(%(increment)s) > 0 OR (%(last)s = here.last_value AND NOT here.is_called);
