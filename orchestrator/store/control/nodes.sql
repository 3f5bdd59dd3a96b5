-- name: lock
-- Held by the session of the node's keeper for its life: PostgreSQL lets go of it the moment that process
-- dies, which proves an older incarnation of the same name dead without waiting for its row to expire.
SELECT pg_try_advisory_lock(1768846188, hashtext($1));

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

-- name: leave
DELETE FROM insula.node WHERE id = $1;
