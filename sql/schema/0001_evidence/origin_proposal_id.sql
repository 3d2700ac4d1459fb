-- name: up
-- The id of the proposal of a backfilled row: a UUID of version 3 (name-based, RFC 9562) of table and row id. A second
-- proposal for the same row cannot exist because the id follows from the row. Locks nothing of the user's.
-- The same in Python: uuid.uuid3(uuid.UUID(bytes=b'knowledge/origin'), 'topics/123'). A single expression, which the
-- planner inlines into the batch statement.
CREATE FUNCTION migration.origin_proposal_id(table_name text, row_id bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN overlay(
    overlay(md5('knowledge/origin' || table_name || '/' || row_id::text) PLACING '3' FROM 13)
    PLACING translate(
        substr(md5('knowledge/origin' || table_name || '/' || row_id::text), 17, 1),
        '0123456789abcdef',
        '89ab89ab89ab89ab'
    ) FROM 17
)::uuid;

-- name: down
-- Removes the function that names the proposals of backfilled rows.
DROP FUNCTION migration.origin_proposal_id(text, bigint);
