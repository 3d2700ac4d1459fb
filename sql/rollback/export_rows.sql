-- Every row of a table as JSON.
SELECT to_jsonb(exported) AS row FROM {table} AS exported
