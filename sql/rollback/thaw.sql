-- Lets writes to a proposal table through again after a refused rollback. ACCESS EXCLUSIVE on it, with a short lock_timeout.
DROP TRIGGER IF EXISTS leaving ON {table}
