-- A new, empty database on the scratch server, with the source's encoding and libc locale. From template0, so that
-- nothing a site has put into template1 meets the restore. Touches no existing database.
CREATE DATABASE {scratch} TEMPLATE template0 ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype};
