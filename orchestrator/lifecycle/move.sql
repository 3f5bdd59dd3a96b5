-- Moves a tenant's schema from one database to another. `:"name"` is filled as in provision.sql.

-- name: tables
SELECT c.relname::text FROM pg_class AS c
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'p')
ORDER BY c.relname COLLATE "C"

-- name: lock
-- Whoever writes is waited for, and nobody writes from then on; reading goes on.
LOCK TABLE :"schema".:"table" IN SHARE MODE;

-- name: rename
ALTER SCHEMA :"schema" RENAME TO :"renamed";

-- name: settings
-- As in dump.sql: rows come out as the same text on both sides.
SET LOCAL search_path = '';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 3;
SET LOCAL bytea_output = 'hex';
SET LOCAL timezone = 'UTC';
SET LOCAL row_security = off;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
