-- The cache of a tenant, under its application's login. A row whose time is over is not there.

-- name: read
SELECT key, value FROM tenant.wf_cache
WHERE space = $1 AND key = ANY ($2::text[]) AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: write
-- In the order of the keys, so that two who write the same ones do not wait for each other.
INSERT INTO tenant.wf_cache (space, key, value, expires_at)
SELECT $1, key, value, clock_timestamp() + $4::interval
FROM unnest($2::text[], $3::text[]) AS given (key, value) ORDER BY key
ON CONFLICT (space, key) DO UPDATE
SET value = excluded.value, expires_at = excluded.expires_at, written_at = excluded.written_at

-- name: write_if_absent
INSERT INTO tenant.wf_cache AS known (space, key, value, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + $4::interval)
ON CONFLICT (space, key) DO UPDATE
SET value = excluded.value, expires_at = excluded.expires_at, written_at = excluded.written_at
WHERE known.expires_at <= clock_timestamp()
RETURNING true

-- name: swap
UPDATE tenant.wf_cache
SET value = $4, expires_at = clock_timestamp() + $5::interval, written_at = clock_timestamp()
WHERE space = $1 AND key = $2 AND value = $3 AND (expires_at IS NULL OR expires_at > clock_timestamp())
RETURNING true

-- name: add
-- A counter keeps the time that it was given when it was begun.
INSERT INTO tenant.wf_cache AS known (space, key, value, expires_at)
VALUES ($1, $2, $3::bigint::text, clock_timestamp() + $4::interval)
ON CONFLICT (space, key) DO UPDATE
SET value = CASE WHEN known.expires_at <= clock_timestamp() THEN excluded.value
                 ELSE (known.value::bigint + $3::bigint)::text END,
    expires_at = CASE WHEN known.expires_at <= clock_timestamp() THEN excluded.expires_at
                      ELSE known.expires_at END,
    written_at = excluded.written_at
RETURNING value::bigint

-- name: remove
-- What is over is removed as well, and does not count.
WITH removed AS (
    DELETE FROM tenant.wf_cache WHERE space = $1 AND key = ANY ($2::text[]) RETURNING expires_at
)
SELECT count(*) FROM removed WHERE expires_at IS NULL OR expires_at > clock_timestamp()

-- name: keys
SELECT key FROM tenant.wf_cache
WHERE space = $1 AND key LIKE $2 ESCAPE '\' AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY key LIMIT $3

-- name: clear
WITH removed AS (
    DELETE FROM tenant.wf_cache WHERE starts_with(space, $1) RETURNING expires_at
)
SELECT count(*) FROM removed WHERE expires_at IS NULL OR expires_at > clock_timestamp()

-- name: size
SELECT count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint FROM tenant.wf_cache
WHERE starts_with(space, $1) AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: trim
-- Leaves the `$1` rows that were written last, and of those as many as fit `$2` bytes.
DELETE FROM tenant.wf_cache WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM (
        SELECT ctid, expires_at, row_number() OVER newest AS number,
               sum(octet_length(key) + octet_length(value)) OVER newest AS bytes
        FROM tenant.wf_cache WINDOW newest AS (ORDER BY written_at DESC, space, key)
    ) AS ranked
    WHERE number > $1 OR bytes > $2 OR expires_at <= clock_timestamp()
))

-- name: schema_number
SELECT oid::bigint FROM pg_catalog.pg_namespace WHERE nspname = $1
