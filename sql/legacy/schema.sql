-- The tasktracker schema before phase 1, as the application's own migrations create it.
-- Built only in the embedded demonstration and in tests, never in a user's database: a new database, so no lock matters.
-- created_at and updated_at are physically first (in sources after is_active): no code may rely on the position of columns.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TYPE sourcetype AS ENUM ('telegram', 'slack', 'email', 'api');

CREATE TABLE users (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    id bigserial PRIMARY KEY,
    first_name varchar(100) NOT NULL,
    last_name varchar(100),
    email varchar,
    phone varchar(20),
    avatar_url varchar(500),
    is_active boolean NOT NULL,
    is_bot boolean NOT NULL
);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE UNIQUE INDEX ix_users_phone ON users (phone);

CREATE TABLE sources (
    name varchar(100) NOT NULL,
    type sourcetype NOT NULL,
    config jsonb,
    is_active boolean NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    id bigserial PRIMARY KEY
);

CREATE TABLE telegram_profiles (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    id bigserial PRIMARY KEY,
    telegram_user_id bigint NOT NULL,
    first_name varchar(100) NOT NULL,
    last_name varchar(100),
    language_code varchar(10),
    is_bot boolean NOT NULL,
    is_premium boolean NOT NULL,
    user_id integer NOT NULL UNIQUE REFERENCES users (id),
    source_id integer NOT NULL REFERENCES sources (id)
);
CREATE UNIQUE INDEX ix_telegram_profiles_telegram_user_id ON telegram_profiles (telegram_user_id);

CREATE TABLE topics (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    id bigserial PRIMARY KEY,
    name varchar(100) NOT NULL,
    description text NOT NULL,
    icon varchar(50),
    color varchar(7)
);
CREATE UNIQUE INDEX ix_topics_name ON topics (name);

CREATE TABLE messages (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    id bigserial PRIMARY KEY,
    external_message_id varchar(100) NOT NULL,
    content text NOT NULL,
    sent_at timestamp NOT NULL,
    source_id integer NOT NULL REFERENCES sources (id),
    author_id integer NOT NULL REFERENCES users (id),
    telegram_profile_id integer REFERENCES telegram_profiles (id),
    avatar_url varchar(500),
    classification varchar(50),
    confidence double precision,
    analyzed boolean NOT NULL,
    analysis_status varchar(50),
    included_in_runs jsonb,
    topic_id integer REFERENCES topics (id),
    embedding vector(1536),
    importance_score double precision,
    noise_classification varchar(50),
    noise_factors jsonb
);
CREATE INDEX ix_messages_external_message_id ON messages (external_message_id);
CREATE INDEX ix_messages_topic_id ON messages (topic_id);

CREATE TABLE atoms (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    id bigserial PRIMARY KEY,
    type varchar(20) NOT NULL,
    title varchar(200) NOT NULL,
    content text NOT NULL,
    confidence double precision,
    user_approved boolean NOT NULL,
    meta json,
    embedding vector(1536)
);
CREATE INDEX ix_atoms_title ON atoms (title);

CREATE TABLE topic_atoms (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    topic_id bigint NOT NULL REFERENCES topics (id),
    atom_id bigint NOT NULL REFERENCES atoms (id),
    position integer,
    note text,
    PRIMARY KEY (topic_id, atom_id)
);

CREATE TABLE atom_links (
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    from_atom_id bigint NOT NULL REFERENCES atoms (id),
    to_atom_id bigint NOT NULL REFERENCES atoms (id),
    link_type varchar(20) NOT NULL,
    strength double precision,
    PRIMARY KEY (from_atom_id, to_atom_id)
);
