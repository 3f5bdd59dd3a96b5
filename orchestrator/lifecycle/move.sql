-- Moves a tenant's schema from one database to another. `:"name"` is filled as in provision.sql.

-- name: tables
SELECT c.relname::text FROM pg_class AS c
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'p')
ORDER BY c.relname COLLATE "C"

-- name: lock
-- Whoever writes is waited for, and nobody writes from then on; reading goes on.
LOCK TABLE :"schema".:"table" IN SHARE MODE;

-- name: has_schema
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)

-- name: rename
ALTER SCHEMA :"schema" RENAME TO :"renamed";

-- name: mark
COMMENT ON SCHEMA :"schema" IS :'mark';

-- name: unmark
COMMENT ON SCHEMA :"schema" IS NULL;

-- name: marked
SELECT obj_description(oid, 'pg_namespace') = $2 FROM pg_namespace WHERE nspname = $1

-- name: drop
DROP SCHEMA IF EXISTS :"schema" CASCADE;

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

-- name: here
-- Of these roles those of ours that are there, and whether they have rights in another database of this server.
SELECT r.rolname::text AS name, EXISTS (
    SELECT FROM pg_shdepend AS d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
    AND d.dbid NOT IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))) AS elsewhere
FROM pg_roles AS r WHERE r.rolname = ANY ($1::text[]) AND shobj_description(r.oid, 'pg_authid') = $2
ORDER BY r.rolname

-- name: revoke_connect
REVOKE CONNECT ON DATABASE :"database" FROM :"role";

-- name: drop_role
DROP OWNED BY :"role";
DROP ROLE :"role";
