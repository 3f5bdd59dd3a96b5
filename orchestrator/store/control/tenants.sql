-- The registry: every tenant that was ever declared, and what has been made for it.

-- name: installation
SELECT id FROM insula.installation

-- name: declare
-- Note the tenants of the files. A row made at run time becomes the file's when a file names it;
-- a removed one comes back as what it had reached. Rows that say the same are not written.
INSERT INTO insula.tenant AS known (id, source, declaration, schema_name)
SELECT id, 'file', declaration, schema_name
FROM unnest($1::text[], $2::json[], $3::text[]) AS declared (id, declaration, schema_name)
ON CONFLICT (id) DO UPDATE SET
    source = excluded.source,
    declaration = excluded.declaration,
    state = CASE
        WHEN known.state <> 'removed' THEN known.state
        WHEN known.provisioned_at IS NULL THEN 'registered'
        ELSE 'provisioned'
    END
WHERE known.source <> 'file'
   OR known.declaration::text <> excluded.declaration::text
   OR known.state = 'removed'

-- name: register
-- Nothing comes back when the id is taken.
INSERT INTO insula.tenant AS known (id, source, declaration, schema_name)
VALUES ($1, 'api', $2, $3)
ON CONFLICT (id) DO UPDATE SET
    source = excluded.source,
    declaration = excluded.declaration,
    state = CASE WHEN known.provisioned_at IS NULL THEN 'registered' ELSE 'provisioned' END
WHERE known.state = 'removed'
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at

-- name: fetch
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at
FROM insula.tenant
WHERE id = $1

-- name: fetch_all
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at
FROM insula.tenant
ORDER BY id

-- name: mark_provisioned
-- Versions only grow: of two nodes that provision side by side, the one with older files
-- does not hide what the other one applied.
UPDATE insula.tenant
SET state = 'provisioned',
    engine_version = greatest(engine_version, $2),
    app_version = greatest(app_version, $3),
    fingerprint = $4,
    provisioned_at = coalesce(provisioned_at, now())
WHERE id = $1
RETURNING id

-- name: touch
UPDATE insula.tenant SET last_active_at = now() WHERE id = ANY ($1::text[])
