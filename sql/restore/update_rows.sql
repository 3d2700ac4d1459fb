-- Gives rows of {table} the values of the backup; the rows are locked by this transaction and have just been compared.
-- One probe of the primary key's index for each row.
UPDATE {table} AS target
SET {assignments}
FROM unnest({arrays}) AS given ({names})
WHERE {matching};
