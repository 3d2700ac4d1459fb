-- When, and by which server, a fingerprint was taken. Takes no lock.
SELECT clock_timestamp() AS taken_at, current_setting('server_version') AS server_version;
