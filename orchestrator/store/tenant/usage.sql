-- What one tenant has used: see wf_usage.

-- name: fold
-- Make totals of at most `$2` rows that are not in one yet. No row back: a newer owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), parts AS (
    DELETE FROM tenant.wf_usage USING fence WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tenant.wf_usage WHERE NOT total LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING hour, submitted, input_bytes, succeeded, failed, dead, cancelled, attempts, task_ms
), totals AS (
    DELETE FROM tenant.wf_usage WHERE total AND hour IN (SELECT parts.hour FROM parts)
    RETURNING hour, submitted, input_bytes, succeeded, failed, dead, cancelled, attempts, task_ms
), added AS (
    INSERT INTO tenant.wf_usage
        (hour, total, submitted, input_bytes, succeeded, failed, dead, cancelled, attempts, task_ms)
    SELECT hour, true, sum(submitted), sum(input_bytes), sum(succeeded), sum(failed), sum(dead), sum(cancelled),
           sum(attempts), sum(task_ms)
    FROM (SELECT * FROM parts UNION ALL SELECT * FROM totals) AS row GROUP BY hour
)
SELECT (SELECT count(*) FROM parts) AS folded FROM fence;

-- name: untold
-- The oldest totals that the control schema may not have as they are, at most `$1`, and whose ledger they are in.
SELECT fence.ledger, usage.hour, sum(usage.submitted)::int8 AS submitted, sum(usage.input_bytes)::int8 AS input_bytes,
       sum(usage.succeeded)::int8 AS succeeded, sum(usage.failed)::int8 AS failed, sum(usage.dead)::int8 AS dead,
       sum(usage.cancelled)::int8 AS cancelled, sum(usage.attempts)::int8 AS attempts,
       sum(usage.task_ms)::int8 AS task_ms
FROM tenant.wf_usage AS usage CROSS JOIN tenant.wf_fence AS fence
WHERE usage.total
GROUP BY fence.ledger, usage.hour HAVING NOT bool_and(usage.told) ORDER BY usage.hour LIMIT $1;

-- name: mark
-- The control schema has the totals of the hours `$2`, as this owner read them; those from before `$3` that it has
-- are kept there alone. No row back: a newer owner has the tenant, and tells them again.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), marked AS (
    UPDATE tenant.wf_usage AS usage SET told = true
    FROM fence WHERE usage.total AND NOT usage.told AND usage.hour = ANY ($2::timestamptz[])
), kept AS (
    DELETE FROM tenant.wf_usage AS usage USING fence WHERE usage.total AND usage.told AND usage.hour < $3
)
SELECT epoch FROM fence;

-- name: read
-- The exact usage of each hour that is still here, folded or not, as one moment saw it.
SELECT fence.ledger, usage.hour, sum(usage.submitted)::int8 AS submitted, sum(usage.input_bytes)::int8 AS input_bytes,
       sum(usage.succeeded)::int8 AS succeeded, sum(usage.failed)::int8 AS failed, sum(usage.dead)::int8 AS dead,
       sum(usage.cancelled)::int8 AS cancelled, sum(usage.attempts)::int8 AS attempts,
       sum(usage.task_ms)::int8 AS task_ms
FROM tenant.wf_usage AS usage CROSS JOIN tenant.wf_fence AS fence
GROUP BY fence.ledger, usage.hour ORDER BY usage.hour;

-- name: accepted
-- How many runs were accepted within an hour and a day, as whoever has added some counted them in the last two minutes;
-- see wf_quota. A minute is how long such a count goes on before what has left the span is noticed.
SELECT CASE WHEN hour_counted_at > now() - interval '2 minutes' THEN hour_allowed - hour_spare END AS max_runs_per_hour,
       CASE WHEN day_counted_at > now() - interval '2 minutes' THEN day_allowed - day_spare END AS max_runs_per_day
FROM tenant.wf_quota;

-- name: has_usage
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
                                      AND relname = 'wf_usage')
