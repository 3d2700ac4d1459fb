-- Bars every write to the tables until the transaction ends; readers go on. Nobody else is connected when this is taken,
-- so it waits for nobody; whoever connects afterwards and writes, waits.
LOCK TABLE {tables} IN SHARE MODE;
