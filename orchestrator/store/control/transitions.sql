-- name: record
-- In the order in which they happened. What is told late of a tenant that is gone by now is for nobody.
INSERT INTO insula.transition (registration, at, node, state, reason, next_at)
SELECT t.registration, t.at, $3, t.state, t.reason, t.next_at
FROM unnest($1::uuid[], $2::timestamptz[], $4::text[], $5::text[], $6::timestamptz[])
    WITH ORDINALITY AS t (registration, at, state, reason, next_at, place)
WHERE EXISTS (SELECT FROM insula.tenant AS known WHERE known.registration = t.registration AND known.state <> 'removed')
ORDER BY t.place;

-- name: trim
-- Keep the last $2 of each of these tenants.
DELETE FROM insula.transition AS t USING (
    SELECT registration, number, row_number() OVER (PARTITION BY registration ORDER BY number DESC) AS age
    FROM insula.transition WHERE registration = ANY($1::uuid[])
) AS known
WHERE t.registration = known.registration AND t.number = known.number AND known.age > $2;

-- name: written
-- When the tenant is to be woken, which living node serves it, the limits that it came near to (see `current` of
-- usage.sql, whose windows are `$3` and `$4`), and its last `$2` changes of state, newest first: at least one row,
-- which has no change of state when there was none. A former tenant of its id has another registration.
WITH present AS MATERIALIZED (
    SELECT registration FROM insula.tenant WHERE id = $1
)
SELECT (SELECT min(due_at) FROM insula.wake WHERE tenant = $1) AS wake_at,
       (SELECT node.name FROM insula.lease AS lease JOIN insula.node AS node ON node.id = lease.node
        WHERE lease.tenant = $1 AND node.expires_at > clock_timestamp()) AS served_by,
       (SELECT json_agg(near ORDER BY near.quota) FROM (
            SELECT alert.quota, alert.since, alert.at, alert.used, alert.allowed
            FROM insula.alert AS alert JOIN unnest($3::text[], $4::interval[]) AS w (quota, lasts) USING (quota)
            WHERE alert.registration = (SELECT registration FROM present)
              AND alert.since > clock_timestamp() - w.lasts) AS near) AS alerts,
       t.at, t.node, t.state, t.reason, t.next_at
FROM (SELECT) AS always LEFT JOIN (
    SELECT number, at, node, state, reason, next_at FROM insula.transition
    WHERE registration = (SELECT registration FROM present) ORDER BY number DESC LIMIT $2) AS t ON true
ORDER BY t.number DESC;
