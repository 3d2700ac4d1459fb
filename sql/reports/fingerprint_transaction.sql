-- Gives a transaction that has read nothing yet one snapshot for all its statements. Takes no lock.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
