-- A tenant's schema that comes from elsewhere. `:"name"` is filled as in provision.sql.

-- name: has_schema
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)

-- name: mark
COMMENT ON SCHEMA :"schema" IS :'mark';

-- name: unmark
COMMENT ON SCHEMA :"schema" IS NULL;

-- name: marked
SELECT coalesce(obj_description(oid, 'pg_namespace') ^@ $2, false) FROM pg_namespace WHERE nspname = $1

-- name: every_marked
-- Catalogs are the database's: of those that are copies here.
SELECT nspname::text FROM pg_namespace WHERE nspname ^@ 'tenant_' AND obj_description(oid, 'pg_namespace') ^@ $1
ORDER BY 1

-- name: drop
DROP SCHEMA IF EXISTS :"schema" CASCADE;

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
