-- The lowest and highest id of one table: two probes of the primary key's index where id is the key, a scan otherwise.
-- Takes ACCESS SHARE.
SELECT min(id)::bigint AS lowest_id, max(id)::bigint AS highest_id FROM {table};
