-- name: due
-- Dormant tenants that have something to do by now, and whether that is so for longer than $5. A peek: the rows go
-- when the tenant is claimed; each submission of an application may have left one.
-- `$2` are the tenants that can not be woken now, and a tenant that another living node serves is
-- that node's business: neither may fill the batch. $4 says whether an expired row means death (see claim).
-- The time stands in a SELECT of its own because no index takes a volatile function.
SELECT wake.tenant, min(wake.due_at) < clock_timestamp() - $5::interval AS overdue FROM insula.wake AS wake
WHERE wake.due_at <= (SELECT clock_timestamp()) AND wake.tenant <> ALL($2::text[]) AND NOT EXISTS (
    SELECT FROM insula.lease AS lease JOIN insula.node AS owner ON owner.id = lease.node
    WHERE lease.tenant = wake.tenant AND lease.node <> $3
      AND owner.expires_at > CASE WHEN $4 THEN clock_timestamp() ELSE '-infinity' END)
GROUP BY wake.tenant ORDER BY min(wake.due_at) LIMIT $1;

-- name: consume
-- A tenant that is awake is told instead, if it is ours still: else the row is for its owner.
DELETE FROM insula.wake AS wake WHERE tenant = ANY($1::text[]) AND due_at <= clock_timestamp() AND EXISTS (
    SELECT FROM insula.lease AS lease WHERE lease.tenant = wake.tenant AND lease.node = $2);
