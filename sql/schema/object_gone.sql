-- Forgets an object, in the transaction that removes it. A table of our own: no lock matters.
DELETE FROM migration.schema_object WHERE name = %(name)s
