-- The rows of {table} with the given keys: key, hash of the legacy values, and every value as text; locked where asked, so
-- that a user's edit of the row is either seen here or waits. One probe of the primary key's index for each key.
SELECT
    {key} AS key,
    {hash} AS hash,
    {values} AS values
FROM {table} AS source
JOIN unnest({arrays}) AS wanted ({names}) ON {matching}
{lock};
