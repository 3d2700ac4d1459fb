-- Row count and checksum of each range of {width} keys of one table, independent of the order of rows.
--
-- The record's hash is hashed once more before it is summed. hash_record_extended alone is linear in its columns
-- (31 * h + next), so that the sum over rows does not see a value that two rows have exchanged: of 200 exchanges it
-- missed 137; hashed again, none. Hashed as bytes, because an int8 is folded to 32 bits first; and as a record of one
-- column, because the hash function of bytea can be called by name from 18 on only. It costs a fifth of the hashing
-- of 386,000 topic_atoms (88 ms and 107 ms).
-- No ORDER BY here: it would bring back the sort of whole rows that fingerprint_settings.sql keeps away (530 MB of
-- temporary files for 1,127,000 atoms).
-- One scan of the table, in parallel where it is large. Takes ACCESS SHARE.
SELECT
    CASE WHEN {key} >= 0 THEN {key}::bigint / {width} ELSE ({key}::bigint + 1) / {width} - 1 END AS range,
    count(*) AS rows,
    sum(hash_record_extended(ROW(int8send(hash_record_extended(ROW({values}), 0))), 0)) AS checksum
FROM {table}
GROUP BY 1;
