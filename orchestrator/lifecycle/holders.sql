-- Who holds what of a tenant.

-- name: holders
-- The sessions with a lock on anything in the schema, those that are in a transaction for longest first.
SELECT activity.pid, activity.usename::text, activity.application_name, activity.state,
    activity.xact_start AT TIME ZONE 'UTC' AS since
FROM pg_stat_activity AS activity
WHERE pid <> pg_backend_pid() AND EXISTS (
    SELECT FROM pg_locks AS held JOIN pg_class AS c ON c.oid = held.relation
    WHERE held.pid = activity.pid AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
)
ORDER BY xact_start
LIMIT 5;

-- name: in_the_way
-- The sessions that those of the login $1 wait for.
SELECT DISTINCT activity.pid, activity.usename::text, activity.application_name, activity.state,
    activity.xact_start AT TIME ZONE 'UTC' AS since
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS b (pid)
JOIN pg_stat_activity AS activity ON activity.pid = b.pid
WHERE waiting.usename = $1 AND waiting.datname = current_database()
ORDER BY since
LIMIT 5;
