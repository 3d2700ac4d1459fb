-- The name of a new scratch database: the second it is made in, by the server's clock, and 32 random bits.
SELECT %(prefix)s || lpad(to_hex(extract(epoch FROM clock_timestamp())::bigint), 8, '0')
    || substr(md5(gen_random_uuid()::text), 1, 8) AS name;
