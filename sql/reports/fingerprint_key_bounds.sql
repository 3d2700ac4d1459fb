-- The lowest and highest key of one table, by which the width of its ranges is chosen: two probes of the primary key's
-- index where the key is its first column, a scan otherwise. Takes ACCESS SHARE.
SELECT min({key})::bigint AS lowest, max({key})::bigint AS highest FROM {table};
