-- What a backup has to know of the database it comes from: its size, and how its text is encoded and ordered, so that a
-- scratch database is made alike. Through to_jsonb, because the columns of the locale provider came with 15 and changed
-- their name with 17. Catalog only; takes no lock, the size counts files.
SELECT
    pg_database_size(oid) AS size_bytes,
    pg_encoding_to_char(encoding) AS encoding,
    datcollate AS collate,
    datctype AS ctype,
    coalesce(to_jsonb(pg_database) ->> 'datlocprovider', 'c') AS provider,
    coalesce(to_jsonb(pg_database) ->> 'datlocale', to_jsonb(pg_database) ->> 'daticulocale') AS locale
FROM pg_database
WHERE datname = current_database();
