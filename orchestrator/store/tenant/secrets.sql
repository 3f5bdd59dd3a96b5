-- The secrets of a tenant, sealed. Only the admin's login writes here.

-- name: alone
-- One after the other: a key is not taken away before what it has sealed is there, and the first one is made once.
-- Who only reads waits for nobody.
LOCK TABLE tenant.wf_key IN SHARE ROW EXCLUSIVE MODE

-- name: current_key
SELECT id, wrapped, wrapped_by FROM tenant.wf_key WHERE current

-- name: every_key
SELECT id, wrapped, wrapped_by FROM tenant.wf_key ORDER BY created_at

-- name: add_key
INSERT INTO tenant.wf_key (id, wrapped, wrapped_by, current) VALUES ($1, $2, $3, true)

-- name: retire_key
UPDATE tenant.wf_key SET current = false WHERE current AND id = ANY ($1::uuid[])

-- name: rewrap_key
UPDATE tenant.wf_key SET wrapped = $2, wrapped_by = $3 WHERE id = $1

-- name: drop_keys
-- All that seal nothing any more.
DELETE FROM tenant.wf_key AS key WHERE NOT current AND NOT payloads
  AND NOT EXISTS (SELECT FROM tenant.wf_secret AS secret WHERE secret.key_id = key.id)

-- name: put
INSERT INTO tenant.wf_secret AS known (name, id, key_id, sealed) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET
    id = excluded.id, key_id = excluded.key_id, sealed = excluded.sealed, updated_at = clock_timestamp()
RETURNING created_at, updated_at

-- name: reseal
UPDATE tenant.wf_secret SET key_id = $2, sealed = $3 WHERE id = $1

-- name: remove
DELETE FROM tenant.wf_secret WHERE name = $1 RETURNING name

-- name: listed
SELECT name, created_at, updated_at FROM tenant.wf_secret ORDER BY name

-- name: how_many
SELECT count(*) FROM tenant.wf_secret WHERE name <> $1

-- name: every_secret
SELECT name, id, key_id, sealed FROM tenant.wf_secret ORDER BY name

-- name: read
-- The secret with its key, in one look: a key that is changed meanwhile changes both.
SELECT secret.name, secret.id, secret.key_id, secret.sealed, key.wrapped, key.wrapped_by
FROM tenant.wf_secret AS secret JOIN tenant.wf_key AS key ON key.id = secret.key_id
WHERE secret.name = $1

-- name: ring
SELECT id, wrapped, wrapped_by, current, payloads FROM tenant.wf_key ORDER BY created_at

-- name: use_for_payloads
-- From now on the key stays, whatever becomes of the secrets that it has sealed.
UPDATE tenant.wf_key SET payloads = true WHERE current AND NOT payloads
