-- Asks for nothing: a round trip to the server, on that day.
SELECT 1
