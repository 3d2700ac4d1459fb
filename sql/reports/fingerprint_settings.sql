-- Fixes, for this transaction only, whatever could change how a value is written or which rows are seen:
-- row_security off makes a policy that would hide rows an error; search_path makes names of types and of regclass values
-- come out qualified. enable_sort off because the planner cannot know how few key ranges there are and would sort whole
-- rows: 1,127,000 atoms took 1,440 ms with the sort and 505 ms with the hash (PostgreSQL 18, 2 cores). jit off because
-- compiling each table's expression costs more than it gains: 0.80 s and 0.43 s for 791,000 rows (PostgreSQL 15).
SELECT
    set_config('DateStyle', 'ISO, YMD', true),
    set_config('IntervalStyle', 'postgres', true),
    set_config('TimeZone', 'UTC', true),
    set_config('extra_float_digits', '1', true),
    set_config('bytea_output', 'hex', true),
    set_config('lc_monetary', 'C', true),
    set_config('row_security', 'off', true),
    set_config('search_path', 'pg_catalog', true),
    set_config('statement_timeout', '0', true),
    set_config('enable_sort', 'off', true),
    set_config('jit', 'off', true);
