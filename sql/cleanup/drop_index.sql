-- Drops an index while reads and writes go on: SHARE UPDATE EXCLUSIVE on its table; waits for transactions that use it. Broken
-- off, it leaves an invalid index that the next attempt drops.
DROP INDEX CONCURRENTLY public.{index}
