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
SET LOCAL search_path = pg_catalog, pg_temp;
INSERT INTO insula.lock (name) VALUES ('tenant ' || :'tenant') ON CONFLICT DO NOTHING;
SELECT FROM insula.lock WHERE name = 'tenant ' || :'tenant' FOR UPDATE;
SET LOCAL lock_timeout = '10s';

-- name: hold_runs
-- Who has a run in an open transaction, as by insula.submit, is waited for: it counts as well.
LOCK TABLE tenant.wf_run IN ACCESS EXCLUSIVE MODE

-- name: unfinished
SELECT count(*) FROM tenant.wf_run WHERE finished_at IS NULL

-- name: dependents
-- What of other schemas would go with this one: views on its tables, and foreign keys to them.
SELECT format('%s %s', CASE WHEN user_of.relkind = 'm' THEN 'materialized view' ELSE 'view' END,
              user_of.oid::regclass)
FROM pg_class AS used
JOIN pg_depend AS link ON link.refclassid = 'pg_class'::regclass AND link.refobjid = used.oid
    AND link.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite AS rule ON rule.oid = link.objid
JOIN pg_class AS user_of ON user_of.oid = rule.ev_class
WHERE used.relnamespace = $1::regnamespace AND user_of.relnamespace <> used.relnamespace
UNION
SELECT format('foreign key %s of %s', link.conname, link.conrelid::regclass)
FROM pg_constraint AS link
JOIN pg_class AS used ON used.oid = link.confrelid
JOIN pg_class AS user_of ON user_of.oid = link.conrelid
WHERE link.contype = 'f' AND used.relnamespace = $1::regnamespace
  AND user_of.relnamespace <> used.relnamespace
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
-- What the catalogs still have of the tenant, after all.
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = $1
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
