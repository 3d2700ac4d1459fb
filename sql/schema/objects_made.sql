-- The objects of our making. Reads a small table of our own.
SELECT name FROM migration.schema_object
