-- Makes this transaction see the moment that another one has exported; it must be the transaction's first statement and the
-- transaction REPEATABLE READ. Takes no lock; vacuum waits for the exporting transaction anyway.
SET TRANSACTION SNAPSHOT {snapshot}
