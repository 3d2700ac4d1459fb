-- The time of day on the server.
SELECT clock_timestamp() AS moment
