-- The ledger of a migration that runs outside a transaction: its row `begun` stands until the row `app` replaces it.

-- name: claim
-- Nothing comes back while the session that began it lives: a lock would end with a transaction, and an advisory
-- lock could be taken by a tenant's login as well.
INSERT INTO tenant.wf_migration AS known (ledger, number, name, checksum, backend, backend_start)
SELECT 'begun', $1, $2, $3, pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()
ON CONFLICT (ledger, number) DO UPDATE SET
    name = excluded.name, checksum = excluded.checksum, applied_at = excluded.applied_at, line = NULL,
    backend = excluded.backend, backend_start = excluded.backend_start
WHERE NOT EXISTS (
    SELECT FROM pg_stat_activity AS other
    WHERE other.pid = known.backend AND other.backend_start = known.backend_start AND other.pid <> pg_backend_pid()
)
RETURNING number

-- name: settings
-- An index that is built so waits for every transaction that uses its table, and is left half-built when it
-- gives up: it waits longer than others do.
SET search_path = :"schema", pg_temp;
SET statement_timeout TO DEFAULT;
SET lock_timeout = '60s';

-- name: reach
UPDATE tenant.wf_migration SET line = $2 WHERE ledger = 'begun' AND number = $1 AND backend = pg_backend_pid()

-- name: invalid_indexes
SELECT c.relname::text
FROM pg_index AS index JOIN pg_class AS c ON c.oid = index.indexrelid
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'i' AND NOT index.indisvalid
ORDER BY c.relname

-- name: end
WITH done AS (
    DELETE FROM tenant.wf_migration WHERE ledger = 'begun' AND number = $1 AND backend = pg_backend_pid()
    RETURNING number
)
INSERT INTO tenant.wf_migration (ledger, number, name, checksum) SELECT 'app', number, $2, $3 FROM done

-- name: forget
-- Whatever a file has set, made or locked for its session: the next tenant's file runs in the same one. Not DISCARD ALL,
-- which a rehearsal's transaction refuses, and which takes the driver's own statements away.
RESET SESSION AUTHORIZATION;
RESET ROLE;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all();
DISCARD TEMP;
DO $$
DECLARE
    left_behind text;
BEGIN
    FOR left_behind IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql LOOP
        EXECUTE format('DEALLOCATE %I', left_behind);
    END LOOP;
END
$$;
