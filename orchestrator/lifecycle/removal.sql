-- Takes a tenant's schema and logins away. `:"name"` and `:'name'` are filled as in provision.sql.

-- name: shut_out
-- From here on nobody logs in as this role. The grant lets an admin that is no superuser end its sessions and drop it.
ALTER ROLE :"role" NOLOGIN;
GRANT :"role" TO CURRENT_USER;

-- name: send_away
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = ANY ($1::text[])

-- name: begin
-- The row that whoever provisions this tenant waits for.
SET LOCAL statement_timeout = '10min';
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL search_path = pg_catalog, pg_temp;
INSERT INTO insula.lock (name) VALUES ('tenant ' || :'tenant') ON CONFLICT DO NOTHING;
SELECT FROM insula.lock WHERE name = 'tenant ' || :'tenant' FOR UPDATE;
SET LOCAL lock_timeout = '10s';

-- name: hold_runs
-- Who has a run in an open transaction, as by insula.submit, is waited for: it counts as well.
LOCK TABLE tenant.wf_run IN ACCESS EXCLUSIVE MODE

-- name: hold_table
-- For an archive: nobody writes from here on, and pg_dump may read.
LOCK TABLE :"schema".:"table" IN EXCLUSIVE MODE;

-- name: unfinished
SELECT count(*) FROM tenant.wf_run WHERE finished_at IS NULL

-- name: dependents
-- What of other schemas would go with this one: views on its tables, foreign keys to them, columns of its types,
-- defaults that call its functions, tables that inherit …
WITH inside AS (
    SELECT 'pg_class'::regclass AS class, oid FROM pg_class WHERE relnamespace = $1::regnamespace
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = $1::regnamespace
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = $1::regnamespace
), link AS (
    SELECT DISTINCT d.classid, d.objid, d.objsubid
    FROM pg_depend AS d JOIN inside ON d.refclassid = inside.class AND d.refobjid = inside.oid
    WHERE d.deptype IN ('a', 'n')
), outside AS (
    SELECT 'pg_class'::regclass AS class, c.oid, link.objsubid AS part, c.relnamespace AS namespace
    FROM link JOIN pg_class AS c ON c.oid = link.objid WHERE link.classid = 'pg_class'::regclass
    UNION SELECT 'pg_class'::regclass, c.oid, 0, c.relnamespace
    FROM link JOIN pg_rewrite AS r ON r.oid = link.objid JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE link.classid = 'pg_rewrite'::regclass
    UNION SELECT link.classid, d.oid, 0, c.relnamespace
    FROM link JOIN pg_attrdef AS d ON d.oid = link.objid JOIN pg_class AS c ON c.oid = d.adrelid
    WHERE link.classid = 'pg_attrdef'::regclass
    UNION SELECT link.classid, t.oid, 0, c.relnamespace
    FROM link JOIN pg_trigger AS t ON t.oid = link.objid JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE link.classid = 'pg_trigger'::regclass
    UNION SELECT link.classid, k.oid, 0, k.connamespace
    FROM link JOIN pg_constraint AS k ON k.oid = link.objid WHERE link.classid = 'pg_constraint'::regclass
    UNION SELECT link.classid, t.oid, 0, t.typnamespace
    FROM link JOIN pg_type AS t ON t.oid = link.objid WHERE link.classid = 'pg_type'::regclass
    UNION SELECT link.classid, f.oid, 0, f.pronamespace
    FROM link JOIN pg_proc AS f ON f.oid = link.objid WHERE link.classid = 'pg_proc'::regclass
)
SELECT pg_describe_object(class, oid, part) FROM outside
WHERE namespace NOT IN ($1::regnamespace, 'pg_toast'::regnamespace)
ORDER BY 1

-- name: drop_schema
DROP SCHEMA IF EXISTS :"schema" CASCADE;

-- name: drop_role
-- What it was granted in this database goes first; a role with rights in another one stays, and the error says where.
DROP OWNED BY :"role";
DROP ROLE :"role";

-- name: ours
SELECT rolname FROM pg_roles
WHERE rolname = ANY ($1::text[]) AND shobj_description(oid, 'pg_authid') = $2 ORDER BY rolname

-- name: left
-- What the catalogs still have of the tenant, after all. A schema without our ledger was never the tenant's.
SELECT 'schema ' || n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = 'wf_migration'
UNION ALL
SELECT 'role ' || rolname FROM pg_roles
WHERE rolname = ANY ($2::text[]) AND shobj_description(oid, 'pg_authid') = $3

-- name: has_schema
SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = 'wf_migration')

-- name: finished_runs
SELECT id, workflow, version, state, queue, priority, key, parent_id, tags, input, output, context, error,
       created_at, started_at, finished_at
FROM tenant.wf_run WHERE finished_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2
