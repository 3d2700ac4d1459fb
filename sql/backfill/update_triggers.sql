-- The user's triggers that run before a row of a table is updated. Reads the catalog.
SELECT trigger.tgname AS name
FROM pg_trigger AS trigger
WHERE trigger.tgrelid = %(table)s::regclass
  AND NOT trigger.tgisinternal
  AND trigger.tgenabled <> 'D'
  AND trigger.tgtype & 2 > 0 AND trigger.tgtype & 16 > 0
ORDER BY trigger.tgname
