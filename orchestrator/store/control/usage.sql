-- What all tenants have used, and which of them came near to a limit.

-- name: tell
-- Note what the ledger `$2` of the tenant `$1`, registered as `$14`, counts in each hour: as it is, so that told twice it
-- counts once, and never less than before, since counts only grow: who tells late may have read before others did. Of the
-- owner `$13` under the epoch `$12`, if there is one, nothing is noted when the tenant is another's by now, or called
-- otherwise. An hour that a day sums up already was told before.
WITH owner AS MATERIALIZED (
    SELECT FROM insula.lease WHERE tenant = $1 AND epoch = $12 AND node = $13 FOR SHARE
), told AS (
    INSERT INTO insula.usage AS usage
        (tenant, registration, ledger, span, starts_at, submitted, input_bytes, succeeded, failed, dead, cancelled,
         attempts, task_ms)
    SELECT $1, $14, $2, 'hour', u.*
    FROM unnest($3::timestamptz[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[],
                $11::int8[])
         AS u (hour, submitted, input_bytes, succeeded, failed, dead, cancelled, attempts, task_ms)
    WHERE ($13::uuid IS NULL OR EXISTS (SELECT FROM owner)) AND NOT EXISTS (
        SELECT FROM insula.usage AS day
        WHERE day.ledger = $2 AND day.span = 'day' AND day.starts_at = date_trunc('day', u.hour, 'UTC')
          AND day.hours & (1 << extract(hour FROM u.hour AT TIME ZONE 'UTC')::int) <> 0)
    ON CONFLICT (ledger, span, starts_at) DO UPDATE SET
        tenant = excluded.tenant, registration = excluded.registration,
        submitted = greatest(usage.submitted, excluded.submitted),
        input_bytes = greatest(usage.input_bytes, excluded.input_bytes),
        succeeded = greatest(usage.succeeded, excluded.succeeded), failed = greatest(usage.failed, excluded.failed),
        dead = greatest(usage.dead, excluded.dead), cancelled = greatest(usage.cancelled, excluded.cancelled),
        attempts = greatest(usage.attempts, excluded.attempts), task_ms = greatest(usage.task_ms, excluded.task_ms)
)
SELECT $13::uuid IS NULL OR EXISTS (SELECT FROM owner);

-- name: condense
-- Make days of at most `$2` hours from before `$1`; the number of hours.
WITH old AS (
    DELETE FROM insula.usage WHERE (ledger, span, starts_at) IN (
        SELECT hour.ledger, hour.span, hour.starts_at FROM insula.usage AS hour
        WHERE hour.span = 'hour' AND hour.starts_at < $1 ORDER BY hour.starts_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING *
), days AS (
    INSERT INTO insula.usage AS usage
        (tenant, registration, ledger, span, starts_at, hours, submitted, input_bytes, succeeded, failed, dead,
         cancelled, attempts, task_ms)
    SELECT max(tenant), (array_agg(registration))[1], ledger, 'day', date_trunc('day', starts_at, 'UTC'),
           bit_or(1 << extract(hour FROM starts_at AT TIME ZONE 'UTC')::int), sum(submitted), sum(input_bytes),
           sum(succeeded), sum(failed), sum(dead), sum(cancelled), sum(attempts), sum(task_ms)
    FROM old GROUP BY ledger, date_trunc('day', starts_at, 'UTC')
    ON CONFLICT (ledger, span, starts_at) DO UPDATE SET
        tenant = excluded.tenant, registration = excluded.registration, hours = usage.hours | excluded.hours,
        submitted = usage.submitted + excluded.submitted, input_bytes = usage.input_bytes + excluded.input_bytes,
        succeeded = usage.succeeded + excluded.succeeded, failed = usage.failed + excluded.failed,
        dead = usage.dead + excluded.dead, cancelled = usage.cancelled + excluded.cancelled,
        attempts = usage.attempts + excluded.attempts, task_ms = usage.task_ms + excluded.task_ms
)
SELECT count(*) FROM old;

-- name: page
-- What all tenants used from `$1` until before `$2`, by spans of `$3` (hour or day), from behind the place (`$4`, `$5`,
-- `$6`) on: sums over their ledgers. A day that hours were made of is one row, whatever the span. Two tenants that were
-- called alike, one after the other, have rows of their own; `gone` is who was deleted.
SELECT usage.tenant, usage.registration, date_trunc($3, usage.starts_at, 'UTC') AS starts_at,
       bool_and(known.id IS NULL OR known.state = 'removed') AS gone,
       min(CASE WHEN usage.span = 'day' THEN 'day' ELSE $3 END) AS span,
       sum(submitted)::int8 AS submitted, sum(input_bytes)::int8 AS input_bytes,
       sum(succeeded)::int8 AS succeeded, sum(failed)::int8 AS failed, sum(dead)::int8 AS dead,
       sum(cancelled)::int8 AS cancelled, sum(attempts)::int8 AS attempts, sum(task_ms)::int8 AS task_ms
FROM insula.usage AS usage LEFT JOIN insula.tenant AS known ON known.registration = usage.registration
WHERE usage.starts_at >= $1 AND usage.starts_at < $2 AND usage.tenant >= $4
  AND (usage.tenant, date_trunc($3, usage.starts_at, 'UTC'), usage.registration) > ($4, $5, $6)
GROUP BY usage.tenant, usage.registration, date_trunc($3, usage.starts_at, 'UTC')
ORDER BY usage.tenant, date_trunc($3, usage.starts_at, 'UTC'), usage.registration LIMIT $7;

-- name: of_tenant
-- What the tenant that was registered as `$1` used from `$2` until before `$3`, as it was told.
SELECT usage.ledger, usage.span, usage.starts_at, usage.hours, usage.submitted, usage.input_bytes, usage.succeeded,
       usage.failed, usage.dead, usage.cancelled, usage.attempts, usage.task_ms
FROM insula.usage AS usage
WHERE usage.registration = $1 AND usage.starts_at >= $2 AND usage.starts_at < $3
ORDER BY usage.starts_at;

-- name: alert
-- Note the alerts that nobody has noted, and forget those of long ago; those that are new. Of a tenant that is gone by now
-- there are none.
WITH forgotten AS (
    DELETE FROM insula.alert WHERE registration = $1 AND since < clock_timestamp() - interval '90 days'
)
INSERT INTO insula.alert AS alert (registration, quota, since, used, allowed)
SELECT $1, a.* FROM unnest($2::text[], $3::timestamptz[], $4::int8[], $5::int8[]) AS a (quota, since, used, allowed)
WHERE EXISTS (SELECT FROM insula.tenant AS known WHERE known.registration = $1 AND known.state <> 'removed')
ON CONFLICT DO NOTHING
RETURNING alert.quota;

-- name: alerts
-- The newest first.
SELECT alert.quota, alert.since, alert.at, alert.used, alert.allowed
FROM insula.alert AS alert WHERE alert.registration = $1 ORDER BY alert.since DESC, alert.quota LIMIT $2;

-- name: current
-- Those of windows that are not over, of all tenants or of `$3` alone; `$1` are the quotas, `$2` how long their windows
-- last.
SELECT known.id AS tenant, alert.quota, alert.since, alert.at, alert.used, alert.allowed
FROM insula.alert AS alert JOIN unnest($1::text[], $2::interval[]) AS w (quota, lasts) ON w.quota = alert.quota
JOIN insula.tenant AS known ON known.registration = alert.registration
WHERE alert.since > clock_timestamp() - (SELECT max(lasts) FROM unnest($2::interval[]) AS all_of (lasts))
  AND alert.since > clock_timestamp() - w.lasts AND known.id = coalesce($3, known.id)
ORDER BY known.id, alert.quota;
