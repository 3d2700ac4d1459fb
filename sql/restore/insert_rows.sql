-- Puts rows into {table} with all their values, ids included. A row of that key that is there already is an error.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {values}
FROM unnest({arrays}) AS given ({names});
