-- Of each row of one range of {table}: its place, its key as text, the hash of its legacy values, and when the application
-- says that it was written. Both sides come in the order of the place, a hash of the key, because the order of texts
-- depends on the server's collation and that of numbers does not.
-- A range is read by the primary key's index; a table without an integer key by one scan, sorted on the server's disk.
-- Takes ACCESS SHARE.
SELECT
    {place} AS place,
    {key} AS key,
    {hash} AS hash,
    {stamp} AS stamp
FROM {table} AS source
WHERE {within}
ORDER BY 1;
