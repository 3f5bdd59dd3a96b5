-- Cares for the tables of one tenant, under the admin login. `:"name"` is filled as in provision.sql.

-- name: tables
SELECT c.oid, c.relname::text AS name
FROM pg_class AS c
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'm')
ORDER BY c.relname::text COLLATE "C"

-- name: vacuum
VACUUM (ANALYZE) :"schema".:"table"

-- name: bytes
SELECT coalesce(pg_total_relation_size($1::oid), 0)

-- name: amcheck
-- The schema of the extension, wherever somebody has put it.
SELECT nspname::text FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'amcheck'

-- name: indexes
-- The B-trees of a table, and of what of it is stored apart.
SELECT index.indexrelid AS oid, c.relname::text AS name
FROM pg_index AS index JOIN pg_class AS c ON c.oid = index.indexrelid JOIN pg_am AS am ON am.oid = c.relam
WHERE index.indrelid IN ($1::oid, (SELECT reltoastrelid FROM pg_class WHERE oid = $1))
  AND am.amname = 'btree' AND index.indisvalid AND index.indisready
ORDER BY c.relname

-- name: check_index
SELECT :"schema".bt_index_check($1::oid::regclass)
