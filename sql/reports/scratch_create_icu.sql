-- As scratch_create_libc.sql, for a source whose text is ordered by ICU.
CREATE DATABASE {scratch} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}
LOCALE_PROVIDER icu ICU_LOCALE {locale};
