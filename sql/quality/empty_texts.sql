-- Rows whose text in one column is empty. One scan; reads only.
-- The batch is what Great Expectations puts in: the table under validation.
SELECT {key}, {column} FROM (SELECT * FROM {batch}) AS empty WHERE {column} = ''
