-- name: lock
-- Held by the session of the node's keeper for its life: PostgreSQL lets go of it the moment that process
-- dies, which proves an older incarnation of the same name dead without waiting for its row to expire.
SELECT pg_try_advisory_lock(1768846188, hashtext($1));

-- name: last_sign
-- A living node renews its row: who looks twice sees that it does.
SELECT max(renewed_at) FROM insula.node WHERE name = $1 AND expires_at > clock_timestamp();

-- name: holder
-- Who has the lock of a name. Another login's application and address may be hidden from ours.
SELECT held.pid, session.application_name, session.client_addr::text, session.backend_start AT TIME ZONE 'UTC'
FROM pg_locks AS held LEFT JOIN pg_stat_activity AS session ON session.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2 AND held.classid = 1768846188
  AND held.objid::bigint = hashtext($1)::bigint & 4294967295
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: end_strangers
-- Any login can take any advisory lock. Roles with our mark are tenants', which have no business with it.
SELECT count(*) FILTER (WHERE pg_terminate_backend(held.pid))
FROM pg_locks AS held JOIN pg_stat_activity AS session ON session.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 2 AND held.classid = 1768846188
  AND held.objid::bigint = hashtext($1)::bigint & 4294967295
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND shobj_description(session.usesysid, 'pg_authid') LIKE 'insula:%';

-- name: register
INSERT INTO insula.node (id, name, started_at, renewed_at, expires_at)
VALUES ($1, $2, clock_timestamp(), clock_timestamp(), clock_timestamp() + $3);

-- name: renew
-- A row that expired by itself lives again; one that a successor of our name buried never does.
UPDATE insula.node SET renewed_at = clock_timestamp(), expires_at = clock_timestamp() + $2
WHERE id = $1 AND expires_at > '-infinity'
RETURNING true;

-- name: bury
-- Older incarnations of our name are dead: we hold the lock. Rows that died long ago go with them, but for those
-- that still tell whoever takes over a tenant of theirs how they ended.
WITH dead AS (
    UPDATE insula.node SET expires_at = '-infinity'
    WHERE name = $2 AND id <> $1 AND expires_at > '-infinity'
    RETURNING id
), old AS (
    DELETE FROM insula.node AS node
    WHERE node.id <> $1 AND node.renewed_at < clock_timestamp() - interval '1 day'
      AND NOT EXISTS (SELECT FROM insula.lease AS lease WHERE lease.node = node.id)
)
SELECT count(*) FROM dead;

-- name: live
-- The nodes that take tenants, by name.
SELECT DISTINCT name FROM insula.node WHERE expires_at > clock_timestamp() AND NOT draining;

-- name: retire
UPDATE insula.node SET draining = true WHERE id = $1;

-- name: leave
DELETE FROM insula.node WHERE id = $1;
