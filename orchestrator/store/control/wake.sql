-- name: due
-- Dormant tenants that have something to do by now. A peek: the row goes when the tenant is claimed.
-- `$2` are the tenants that can not be woken now; they must not fill the batch.
SELECT tenant FROM insula.wake
WHERE due_at <= clock_timestamp() AND tenant <> ALL($2::text[])
ORDER BY due_at LIMIT $1;

-- name: consume
-- A tenant that is awake is told instead.
DELETE FROM insula.wake WHERE tenant = ANY($1::text[]) AND due_at <= clock_timestamp();
