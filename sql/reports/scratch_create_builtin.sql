-- As scratch_create_libc.sql, for a source with the builtin locale provider (PostgreSQL 17 and later).
CREATE DATABASE {scratch} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}
LOCALE_PROVIDER builtin BUILTIN_LOCALE {locale};
