-- Makes, for this transaction only, the text of every value exact and the same on both servers, as
-- reports/fingerprint_settings.sql does for checksums: a value read so on one side is written so on the other.
SELECT
    set_config('DateStyle', 'ISO, YMD', true),
    set_config('IntervalStyle', 'postgres', true),
    set_config('TimeZone', 'UTC', true),
    set_config('extra_float_digits', '1', true),
    set_config('bytea_output', 'hex', true),
    set_config('lc_monetary', 'C', true),
    set_config('row_security', 'off', true),
    set_config('search_path', 'pg_catalog', true);
