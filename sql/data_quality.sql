-- name: atom_links_of_missing_atoms
-- Links with a missing end; a valid foreign key prevents them. Hash joins over the primary key of atoms.
SELECT
    atom_links.from_atom_id,
    atom_links.to_atom_id,
    concat_ws(', ', CASE WHEN origin.id IS NULL THEN 'from' END, CASE WHEN target.id IS NULL THEN 'to' END) AS missing
FROM {rows} AS atom_links
LEFT JOIN public.atoms AS origin ON origin.id = atom_links.from_atom_id
LEFT JOIN public.atoms AS target ON target.id = atom_links.to_atom_id
WHERE origin.id IS NULL OR target.id IS NULL

-- name: atoms_linked_to_themselves
-- Links from an atom to itself. One scan of atom_links.
SELECT from_atom_id, to_atom_id, left(link_type, 40) AS link_type FROM {rows} AS atom_links WHERE from_atom_id = to_atom_id

-- name: atoms_of_an_unknown_type
-- Atoms of a type that the application does not know. One scan of atoms.
SELECT id, left(type, 40) AS type, left(title, 100) AS title FROM {rows} AS atoms WHERE type <> ALL (%(atom_types)s)

-- name: atoms_with_a_confidence_outside_0_to_1
-- Atoms whose confidence the proposal's CHECK rejects. 'NaN' sorts above every number, so > 1 finds it.
-- One scan of atoms.
SELECT id, confidence, left(title, 100) AS title FROM {rows} AS atoms WHERE confidence < 0 OR confidence > 1

-- name: atoms_with_a_zero_embedding
-- Atoms with a zero vector: its cosine distance to any vector is NaN, and no threshold finds it.
-- One scan of atoms that reads the embeddings (6 KB each).
SELECT id, left(title, 100) AS title FROM {rows} AS atoms WHERE vector_norm(embedding) = 0

-- name: atoms_with_an_embedding_of_another_dimension
-- Atoms whose embedding is not comparable with the others; possible only if the user's column fixes no dimension.
-- One scan of atoms that reads the embeddings (6 KB each).
SELECT id, vector_dims(embedding) AS dimensions, left(title, 100) AS title
FROM {rows} AS atoms
WHERE vector_dims(embedding) <> %(embedding_dimensions)s

-- name: atoms_with_empty_content
-- Atoms whose content is empty or white space. One scan of atoms.
SELECT id, left(title, 100) AS title FROM {rows} AS atoms WHERE content !~ '\S'

-- name: atoms_with_meta_json_null
-- Atoms whose meta is the JSON value null instead of SQL NULL. json_typeof reads the first token only, so it accepts values
-- that jsonb cannot hold. One scan of atoms.
SELECT id, left(title, 100) AS title FROM {rows} AS atoms WHERE json_typeof(meta) = 'null'

-- name: atoms_with_meta_that_jsonb_cannot_hold
-- Atoms whose meta is valid json but not valid jsonb: an escaped NUL (SQLSTATE 22P05) or half of a surrogate pair (22P02).
-- By text, because a cast would fail on the first such row and pg_input_is_valid only exists from PostgreSQL 16. Escaped
-- backslashes are blanked first, so that a backslash followed by the letters u0000 is not taken for the escape; then
-- whole surrogate pairs, so that what remains of surrogates is a half. A number beyond numeric's range (1e131072) is left
-- to the backfill, which puts the row in quarantine when it meets it.
-- One scan of atoms with its meta.
SELECT id, left(meta::text, 200) AS meta, left(title, 100) AS title
FROM {rows} AS atoms
WHERE regexp_replace(
    replace(meta::text, '\\', ' '),
    '\\ud[89ab][0-9a-f][0-9a-f]\\ud[c-f][0-9a-f][0-9a-f]', ' ', 'gi'
) ~* '\\u(0000|d[89a-f])'

-- name: atoms_with_the_same_title_and_content
-- Atoms with the same title and content; first_id is the lowest id of them.
-- One scan of atoms and a sort by title and content.
SELECT id, first_id, left(title, 100) AS title
FROM (
    SELECT
        id,
        title,
        min(id) OVER same AS first_id,
        count(*) OVER same AS alike
    FROM {rows} AS atoms
    WINDOW same AS (PARTITION BY title, content)
) AS grouped
WHERE alike > 1

-- name: atoms_without_a_confidence
-- Atoms without a confidence. One scan of atoms.
SELECT id, left(title, 100) AS title FROM {rows} AS atoms WHERE confidence IS NULL

-- name: atoms_without_a_topic
-- Atoms without a topic. topic_atoms has no index on atom_id before phase 1, so this is a hash anti join over one scan of
-- each table.
SELECT atoms.id, left(atoms.title, 100) AS title
FROM {rows} AS atoms
WHERE NOT EXISTS (SELECT FROM public.topic_atoms WHERE topic_atoms.atom_id = atoms.id)

-- name: atoms_without_an_embedding
-- Atoms without an embedding. One scan of atoms that does not read the embeddings.
SELECT id, left(title, 100) AS title FROM {rows} AS atoms WHERE embedding IS NULL

-- name: links_of_an_unknown_type
-- Links of a type that the application does not know. One scan of atom_links.
SELECT from_atom_id, to_atom_id, left(link_type, 40) AS link_type
FROM {rows} AS atom_links
WHERE link_type <> ALL (%(link_types)s)

-- name: messages_of_a_missing_topic
-- Messages that name a missing topic; a valid foreign key prevents them.
-- Hash anti join over the primary key of topics.
SELECT messages.id, messages.topic_id
FROM {rows} AS messages
WHERE
    messages.topic_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM public.topics WHERE topics.id = messages.topic_id)

-- name: missing_values
-- Rows with NULL in a column that the proposal requires; possible only where the user's column is nullable. One scan.
SELECT id, concat_ws(', ', {shown}) AS lacking FROM {rows} AS source WHERE {condition}

-- name: ordered
-- The rows of one finding in the order of their key.
SELECT * FROM ({finding}) AS found ORDER BY 1, 2

-- name: table_rows
-- The number of rows of each table that has findings. ACCESS SHARE on the five tables: reads and writes go
-- on. Exact on purpose (the planner's estimate may be from before the last load); index-only scans where vacuum allows.
SELECT
    (SELECT count(*) FROM public.topics) AS topics,
    (SELECT count(*) FROM public.atoms) AS atoms,
    (SELECT count(*) FROM public.topic_atoms) AS topic_atoms,
    (SELECT count(*) FROM public.atom_links) AS atom_links,
    (SELECT count(*) FROM public.messages) AS messages

-- name: topic_atoms_of_missing_rows
-- Pairs with a missing topic or atom; a valid foreign key prevents them.
-- Hash joins over the primary keys.
SELECT
    topic_atoms.topic_id,
    topic_atoms.atom_id,
    concat_ws(', ', CASE WHEN topics.id IS NULL THEN 'topic' END, CASE WHEN atoms.id IS NULL THEN 'atom' END) AS missing
FROM {rows} AS topic_atoms
LEFT JOIN public.topics ON topics.id = topic_atoms.topic_id
LEFT JOIN public.atoms ON atoms.id = topic_atoms.atom_id
WHERE topics.id IS NULL OR atoms.id IS NULL

-- name: topic_names
-- The names that are compared for near duplicates; the comparing happens in Python (engine/validation/near_duplicates.py), so that
-- the server needs no pg_trgm. One scan of topics.
SELECT id, name FROM {rows} AS topics WHERE name IS NOT NULL ORDER BY id

-- name: topic_names_that_differ_in_case_or_blanks_only
-- Topics whose names differ only in case or white space; the unique index on name does not treat them as equal.
-- One scan of topics and a sort.
SELECT id, name, first_id
FROM (
    SELECT
        id,
        name,
        min(id) OVER same AS first_id,
        count(*) OVER same AS alike
    FROM {rows} AS topics
    WHERE name IS NOT NULL
    WINDOW same AS (PARTITION BY lower(btrim(regexp_replace(name, '\s+', ' ', 'g'))))
) AS grouped
WHERE alike > 1

-- name: topics_with_a_colour_that_is_not_hex
-- Topics whose colour is not # and six hexadecimal digits ("emerald" also fits the column).
-- One scan of topics.
SELECT id, left(name, 100) AS name, left(color, 40) AS color
FROM {rows} AS topics
WHERE color !~ '^#[0-9A-Fa-f]+$' OR char_length(color) <> 7

-- name: topics_with_an_empty_description
-- Topics whose description is empty or white space. One scan of topics.
SELECT id, left(name, 100) AS name FROM {rows} AS topics WHERE description !~ '\S'

-- name: topics_without_atoms
-- Topics without atoms. Uses the primary key of topic_atoms, which begins with topic_id.
SELECT topics.id, left(topics.name, 100) AS name
FROM {rows} AS topics
WHERE NOT EXISTS (SELECT FROM public.topic_atoms WHERE topic_atoms.topic_id = topics.id)

-- name: updated_before_created
-- Rows with an update time before their creation time. One scan.
SELECT id, created_at, updated_at FROM {rows} AS source WHERE updated_at < created_at

-- name: wide_values
-- Rows with a value of more characters than the proposal's column holds; possible only where the user's is wider. One scan.
SELECT id, concat_ws(', ', {shown}) AS characters, left({label}, 100) AS {label} FROM {rows} AS source WHERE {condition}

-- name: without_created_at
-- Rows without a creation time. One scan.
SELECT id, updated_at FROM {rows} AS source WHERE created_at IS NULL
