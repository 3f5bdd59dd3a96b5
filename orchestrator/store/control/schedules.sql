-- name: declare
-- Note which schedules the tenants of `$4` have, and since when; those with other times begin anew.
WITH declared AS MATERIALIZED (
    SELECT d.tenant, d.name, d.times FROM unnest($1::text[], $2::text[], $3::text[]) AS d (tenant, name, times)
), gone AS (
    DELETE FROM insula.schedule AS known
    WHERE known.tenant = ANY($4::text[]) AND NOT EXISTS (
        SELECT FROM declared AS d WHERE d.tenant = known.tenant AND d.name = known.name)
), noted AS (
    INSERT INTO insula.schedule AS known (tenant, name, times)
    SELECT d.tenant, d.name, d.times FROM declared AS d ORDER BY d.tenant, d.name
    ON CONFLICT (tenant, name) DO UPDATE SET times = excluded.times, since = clock_timestamp()
    WHERE known.times <> excluded.times
    RETURNING known.tenant, known.name, known.since
)
SELECT d.tenant, d.name, coalesce(noted.since, known.since, clock_timestamp()), clock_timestamp()
FROM declared AS d
LEFT JOIN noted ON noted.tenant = d.tenant AND noted.name = d.name
LEFT JOIN insula.schedule AS known ON known.tenant = d.tenant AND known.name = d.name;

-- name: remind
-- Have tenants woken for their schedules, unless they are woken before. Rows that stay are not even locked:
-- somebody may be taking them.
INSERT INTO insula.wake AS wake (tenant, due_at, reason)
SELECT d.tenant, d.due_at, 'schedule' FROM unnest($1::text[], $2::timestamptz[]) AS d (tenant, due_at)
WHERE NOT EXISTS (SELECT FROM insula.wake AS w WHERE w.tenant = d.tenant AND w.due_at <= d.due_at)
ON CONFLICT (tenant) DO UPDATE SET due_at = excluded.due_at, reason = excluded.reason
WHERE excluded.due_at < wake.due_at;

-- name: now
SELECT clock_timestamp();
