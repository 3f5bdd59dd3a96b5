-- name: record
-- In the order in which they happened.
INSERT INTO insula.transition (tenant, at, node, state, reason, next_at)
SELECT t.tenant, t.at, $3, t.state, t.reason, t.next_at
FROM unnest($1::text[], $2::timestamptz[], $4::text[], $5::text[], $6::timestamptz[])
    WITH ORDINALITY AS t (tenant, at, state, reason, next_at, place)
ORDER BY t.place;

-- name: trim
-- Keep the last $2 of each of these tenants.
DELETE FROM insula.transition AS t USING (
    SELECT tenant, number, row_number() OVER (PARTITION BY tenant ORDER BY number DESC) AS age
    FROM insula.transition WHERE tenant = ANY($1::text[])
) AS known
WHERE t.tenant = known.tenant AND t.number = known.number AND known.age > $2;

-- name: written
-- When the tenant is to be woken, which living node serves it, the limits that it came near to (see `current` of
-- usage.sql, whose windows are `$3` and `$4`), and its last `$2` changes of state, newest first: at least one row,
-- which has no change of state when there was none.
SELECT (SELECT min(due_at) FROM insula.wake WHERE tenant = $1) AS wake_at,
       (SELECT node.name FROM insula.lease AS lease JOIN insula.node AS node ON node.id = lease.node
        WHERE lease.tenant = $1 AND node.expires_at > clock_timestamp()) AS served_by,
       (SELECT json_agg(near ORDER BY near.quota) FROM (
            SELECT alert.quota, alert.since, alert.at, alert.used, alert.allowed
            FROM insula.alert AS alert JOIN unnest($3::text[], $4::interval[]) AS w (quota, lasts) USING (quota)
            WHERE alert.tenant = $1 AND alert.since > clock_timestamp() - w.lasts) AS near) AS alerts,
       t.at, t.node, t.state, t.reason, t.next_at
FROM (SELECT) AS always LEFT JOIN (
    SELECT number, at, node, state, reason, next_at FROM insula.transition
    WHERE tenant = $1 ORDER BY number DESC LIMIT $2) AS t ON true
ORDER BY t.number DESC;
