-- The tokens of the API.

-- name: find
-- Two index looks for each request. `stale`: its last use was noted long ago, or never.
SELECT token.hash, token.tenant, token.role,
       token.revoked_at IS NULL AND coalesce(token.expires_at > clock_timestamp(), true) AS live,
       coalesce(token.last_used_at < clock_timestamp() - interval '1 hour', true) AS stale,
       coalesce(owner.state = 'archived', false) AS archived, owner.registration
FROM insula.token AS token LEFT JOIN insula.tenant AS owner ON owner.id = token.tenant
WHERE token.id = $1

-- name: note_use
-- Not for each request: of two at once, on any node, one writes.
UPDATE insula.token SET last_used_at = clock_timestamp()
WHERE id = $1 AND coalesce(last_used_at < clock_timestamp() - interval '1 hour', true)

-- name: is_live
-- Whether the token is valid still, and of the tenant $2 still.
SELECT EXISTS (
    SELECT FROM insula.token
    WHERE id = $1 AND tenant IS NOT DISTINCT FROM $2
      AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)
)

-- name: hold_owner
SELECT id FROM insula.tenant WHERE id = $1 FOR NO KEY UPDATE

-- name: count_live
SELECT count(*) FROM insula.token
WHERE tenant = $1 AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)

-- name: mint
-- Nothing comes back for a tenant that is not there, or is being deleted, nor when the token $8, with which this one is
-- made, is void; both rows are kept from then on, until this is over. A token lasts no longer than the one that made it.
-- Whoever makes one takes what has long been void out of the way.
WITH forgotten AS (
    DELETE FROM insula.token
    WHERE (tenant = $3 OR $3 IS NULL AND tenant IS NULL)
      AND least(revoked_at, expires_at) < clock_timestamp() - interval '90 days'
), owner AS (
    SELECT FROM insula.tenant WHERE id = $3 AND state NOT IN ('deleting', 'removed') FOR SHARE
), maker AS (
    SELECT expires_at FROM insula.token
    WHERE id = $8 AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true) FOR SHARE
)
INSERT INTO insula.token (id, hash, tenant, role, name, created_by, expires_at)
SELECT $1, $2, $3::text, $4, $5, $6, least(clock_timestamp() + $7::interval, (SELECT expires_at FROM maker))
WHERE ($3 IS NULL OR EXISTS (SELECT FROM owner)) AND ($8::text IS NULL OR EXISTS (SELECT FROM maker))
RETURNING id, tenant, role, name, created_at, created_by, expires_at, revoked_at, last_used_at

-- name: list_of
-- Newest first: those of a tenant, or without one those of the installation.
SELECT id, tenant, role, name, created_at, created_by, expires_at, revoked_at, last_used_at
FROM insula.token WHERE tenant = $1 OR $1 IS NULL AND tenant IS NULL ORDER BY created_at DESC, id

-- name: owner_of
SELECT tenant FROM insula.token WHERE id = $1

-- name: revoke
-- Done again it keeps its time. $2: the tenant whose it is, or null for the installation's.
UPDATE insula.token SET revoked_at = coalesce(revoked_at, clock_timestamp())
WHERE id = $1 AND (tenant = $2 OR $2 IS NULL AND tenant IS NULL)
RETURNING id, tenant, role, name, created_at, created_by, expires_at, revoked_at, last_used_at
