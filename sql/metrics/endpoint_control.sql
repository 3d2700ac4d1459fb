-- Work that no schema changes: it reads no table, and takes as long as the machine is slow on that day.
SELECT sum(sqrt(n)) FROM generate_series(1, 2000) AS n
