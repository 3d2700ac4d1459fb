-- Remembers that an object is of our making, in the transaction that makes it. A table of our own: no lock matters.
INSERT INTO migration.schema_object (name) VALUES (%(name)s) ON CONFLICT DO NOTHING
