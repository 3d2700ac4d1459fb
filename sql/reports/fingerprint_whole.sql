-- Row count and checksum of one table without an integer key, as fingerprint_ranges.sql takes them of each range.
-- One scan of the table, in parallel where it is large. Takes ACCESS SHARE.
SELECT
    count(*) AS rows,
    coalesce(sum(hash_record_extended(ROW(int8send(hash_record_extended(ROW({values}), 0))), 0)), 0) AS checksum
FROM {table};
