-- Gives a database another name; undone with its transaction. From the moment it waits, nobody can connect to the database
-- any more; it goes on when the last session has left, or fails after five seconds naming nobody.
ALTER DATABASE {before} RENAME TO {after};
