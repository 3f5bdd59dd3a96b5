-- Tenants in figures as they were last read.

-- name: take
-- The tenant whose figures are due for longest; for $1 no other node takes it. One that sleeps is not even looked at.
UPDATE insula.figures SET taken = true, due_at = clock_timestamp() + $1::interval
WHERE tenant = (
    SELECT due.tenant FROM insula.figures AS due JOIN insula.tenant AS t ON t.id = due.tenant
    WHERE due.due_at <= now() AND t.state = 'provisioned' AND t.held_for IS NULL
    ORDER BY due.due_at LIMIT 1 FOR UPDATE OF due SKIP LOCKED)
RETURNING tenant, due_at

-- name: store
-- What was read $5 seconds ago of the tenant that was made at $2 and lives on shard $3: there may be another of that id
-- by now, or it may have moved. $4 is what `take` returned. What has become due since, stays so; rows that were counted
-- are kept until they are counted again.
WITH there AS (
    SELECT id FROM insula.tenant
    WHERE id = $1 AND provisioned_at = $2 AND shard = $3 AND state = 'provisioned' FOR KEY SHARE
)
INSERT INTO insula.figures AS known
    (tenant, read_at, runs, failed, day_accepted, day_succeeded, day_failed, day_p50, day_p95,
     schema_bytes, tables, estimated_rows, rows, rows_counted_at)
SELECT id, at, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::bigint, CASE WHEN $16::bigint IS NOT NULL THEN at END
FROM there, (SELECT clock_timestamp() - make_interval(secs => $5) AS at) AS reading
ON CONFLICT (tenant) DO UPDATE SET
    due_at = CASE WHEN known.taken AND known.due_at = $4::timestamptz THEN NULL ELSE known.due_at END,
    taken = known.taken AND known.due_at IS DISTINCT FROM $4::timestamptz,
    read_at = excluded.read_at, runs = excluded.runs, failed = excluded.failed,
    day_accepted = excluded.day_accepted, day_succeeded = excluded.day_succeeded, day_failed = excluded.day_failed,
    day_p50 = excluded.day_p50, day_p95 = excluded.day_p95,
    schema_bytes = excluded.schema_bytes, tables = excluded.tables, estimated_rows = excluded.estimated_rows,
    rows = coalesce(excluded.rows, known.rows),
    rows_counted_at = coalesce(excluded.rows_counted_at, known.rows_counted_at)

-- name: fall_due
UPDATE insula.figures SET due_at = now(), taken = false WHERE tenant = $1

-- name: fetch_all
-- Of all tenants, whether read or not. `quiet`: nothing can have been accepted within the last day.
SELECT t.id AS tenant, t.provisioned_at IS NOT NULL AS used, t.last_active_at,
       coalesce(t.last_active_at < f.read_at AND t.last_active_at < now() - interval '1 day', false) AS quiet,
       f.read_at, extract(epoch FROM clock_timestamp() - f.read_at)::float8 AS age,
       f.runs, f.failed, f.day_accepted, f.day_succeeded, f.day_failed, f.day_p50, f.day_p95,
       f.schema_bytes, f.tables, f.estimated_rows, f.rows, f.rows_counted_at
FROM insula.tenant AS t LEFT JOIN insula.figures AS f ON f.tenant = t.id
WHERE t.state <> 'removed'
