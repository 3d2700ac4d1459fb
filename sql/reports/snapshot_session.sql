-- Lifts the timeouts of this one session: the dump that shares its snapshot may take hours, and a role's own timeout
-- would end the transaction under it. Read from pg_settings, so that a server without one of them (transaction_timeout
-- came with 17) is no error. Catalog only; takes no lock.
SELECT name, set_config(name, '0', false)
FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'statement_timeout', 'transaction_timeout');
