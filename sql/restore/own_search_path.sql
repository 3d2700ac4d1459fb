-- Gives the search_path of the session back to this transaction, for the triggers of a table that is about to be written.
SET LOCAL search_path TO DEFAULT;
