-- Gives a tenant another id. `:"name"` and `:'name'` are filled as in provision.sql.

-- name: hold_runs
-- Who starts a run in an open transaction, as by insula.submit, is waited for: its wake row has the old id.
SET LOCAL lock_timeout = '10s';
LOCK TABLE :"schema".wf_run IN ACCESS EXCLUSIVE MODE;

-- name: taken
-- What the server has of these names, whoever made it.
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = $1
UNION ALL
SELECT 'role ' || rolname FROM pg_roles WHERE rolname = ANY ($2::text[])
UNION ALL
SELECT 'database ' || datname FROM pg_database WHERE datname = $3

-- name: bound_to_name
-- Functions of the application whose text names the schema, and would look for it in vain. Those with a body in
-- standard SQL are bound to what they use, and not to its name.
SELECT p.oid::regprocedure::text FROM pg_proc AS p
WHERE p.pronamespace = $1::regnamespace AND NOT starts_with(p.proname, 'wf_') AND p.prosqlbody IS NULL
  AND p.prosrc ~ ('\m' || $1 || '\M')
ORDER BY 1

-- name: rename_schema
ALTER SCHEMA :"schema" RENAME TO :"renamed";

-- name: rename_role
ALTER ROLE :"role" RENAME TO :"renamed";

-- name: engine_functions
SELECT pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = $1::regnamespace AND starts_with(proname, 'wf_') ORDER BY proname

-- name: search_paths
-- The functions that look for their tables in the schema $1, with the search path that they need in $2.
SELECT format('ALTER ROUTINE %s SET search_path = %s', p.oid::regprocedure,
              regexp_replace(substr(setting, length('search_path=') + 1), '\m' || $1 || '\M', $2, 'g'))
FROM pg_proc AS p, unnest(p.proconfig) AS setting
WHERE p.pronamespace = $2::regnamespace AND setting ~ ('^search_path=.*\m' || $1 || '\M')

-- name: move_rows
-- All that the control schema has by tenant, but for the audit, since what was done under the old id stays there, and for
-- what follows the tenant's row by itself. What former tenants of the old id used stays theirs. The old id keeps its epoch, so that whoever is called so next
-- gets a later one.
INSERT INTO insula.lease AS lease (tenant, node, epoch, pauses)
SELECT :'new', old.node, old.epoch, old.pauses FROM insula.lease AS old WHERE old.tenant = :'old'
ON CONFLICT (tenant) DO UPDATE SET node = excluded.node, epoch = greatest(lease.epoch, excluded.epoch),
                                   pauses = excluded.pauses, changed_at = clock_timestamp();
UPDATE insula.lease SET node = NULL, pauses = '[]' WHERE tenant = :'old';
UPDATE insula.wake SET tenant = :'new' WHERE tenant = :'old';
INSERT INTO insula.wake AS wake (tenant, due_at, reason)
SELECT lease.tenant, clock_timestamp(), 'recover' FROM insula.lease AS lease WHERE lease.tenant = :'new'
AND EXISTS (SELECT FROM insula.tenant AS old WHERE old.id = :'old' AND old.state = 'provisioned')
ON CONFLICT (tenant) DO UPDATE SET due_at = least(wake.due_at, excluded.due_at);
UPDATE insula.schedule SET tenant = :'new' WHERE tenant = :'old';
UPDATE insula.usage SET tenant = :'new' WHERE registration = (SELECT registration FROM insula.tenant WHERE id = :'old');
UPDATE insula.token SET tenant = :'new' WHERE tenant = :'old';

-- name: move_submissions
-- On a shard: what insula.submit has left there for the daemon.
UPDATE insula.submission SET tenant = :'new' WHERE tenant = :'old';

-- name: send_away
-- They logged in under the old name, and look for the schema under that.
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE usename = ANY ($1::text[])
