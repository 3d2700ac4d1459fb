-- Whether row versions can be held against an earlier horizon: it is not ahead of this cluster's transactions, and not so far
-- behind them that the 32 bits of a row's version have begun to mean another one.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric - %(horizon)s::text::numeric BETWEEN 0 AND 1000000000 AS countable
