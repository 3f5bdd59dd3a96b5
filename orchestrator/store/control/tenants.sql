-- The registry: every tenant that was ever declared, and what has been made for it.

-- name: installation
SELECT id FROM insula.installation

-- name: lock
-- Two nodes that declare the same tenant at once would meet at the unique name of its schema, which no ON CONFLICT
-- of its id forgives.
LOCK TABLE insula.tenant IN SHARE ROW EXCLUSIVE MODE

-- name: declare
-- Note the tenants of the files. A row made at run time becomes the file's when a file names it;
-- a removed one begins anew, and one that is being deleted goes on to be so. Rows that say the same are not written.
INSERT INTO insula.tenant AS known (id, source, declaration, schema_name)
SELECT id, 'file', declaration, schema_name
FROM unnest($1::text[], $2::json[], $3::text[]) AS declared (id, declaration, schema_name)
ON CONFLICT (id) DO UPDATE SET
    source = excluded.source,
    declaration = excluded.declaration,
    state = CASE known.state WHEN 'removed' THEN 'registered' ELSE known.state END,
    removed_at = CASE known.state WHEN 'deleting' THEN known.removed_at END,
    renamed_to = NULL,
    changed_in = pg_current_xact_id()
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
    state = 'registered',
    removed_at = NULL,
    renamed_to = NULL,
    changed_in = pg_current_xact_id()
WHERE known.state = 'removed'
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin

-- name: fetch
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin
FROM insula.tenant
WHERE id = $1

-- name: fetch_changed
-- What was changed by a transaction that was not over at the look before, or began since.
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin
FROM insula.tenant
WHERE changed_in >= $1::text::xid8

-- name: horizon
-- Every transaction below it is over, so that whoever looks now sees what it changed.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text

-- name: fetch_all
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin
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
WHERE id = $1 AND state IN ('registered', 'provisioned')
RETURNING id

-- name: rotate
UPDATE insula.tenant SET rotation = rotation + 1, changed_in = pg_current_xact_id()
WHERE id = $1 AND state IN ('registered', 'provisioned') AND held_for IS NULL
RETURNING rotation

-- name: redeclare
-- Only one that was registered at run time: a file's declaration is changed in the file.
UPDATE insula.tenant SET declaration = $2, changed_in = pg_current_xact_id()
WHERE id = $1 AND source = 'api' AND state IN ('registered', 'provisioned')
RETURNING id

-- name: disable
-- Done again it keeps its time, and takes the newer reason.
UPDATE insula.tenant
SET disabled_at = coalesce(disabled_at, clock_timestamp()), disabled_because = $2,
    changed_in = pg_current_xact_id()
WHERE id = $1 AND state IN ('registered', 'provisioned')
RETURNING id

-- name: enable
UPDATE insula.tenant
SET disabled_at = NULL, disabled_because = '', changed_in = pg_current_xact_id()
WHERE id = $1 AND state IN ('registered', 'provisioned')
RETURNING id

-- name: mark_deleting
-- Asked again it says again what becomes of the results, and goes on. What was forced stays so.
UPDATE insula.tenant
SET state = 'deleting', results = $2, forced = forced OR $3,
    removed_at = coalesce(removed_at, clock_timestamp()),
    changed_in = pg_current_xact_id()
WHERE id = $1 AND state <> 'removed' AND held_for IS NULL
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin

-- name: unmark_deleting
-- Without its fingerprint it is provisioned before its next use, which puts its logins back.
UPDATE insula.tenant
SET state = CASE WHEN provisioned_at IS NULL THEN 'registered' ELSE 'provisioned' END,
    results = NULL, removed_at = NULL, forced = false, fingerprint = NULL, changed_in = pg_current_xact_id()
WHERE id = $1 AND state = 'deleting' AND removed_at = $2

-- name: deleting
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin
FROM insula.tenant
WHERE state = 'deleting' ORDER BY id

-- name: still_deleting
-- Whether it is that deletion which began at $2: another node may have ended it, and the id been used again.
SELECT EXISTS (SELECT FROM insula.tenant WHERE id = $1 AND state = 'deleting' AND removed_at = $2)

-- name: unearth
-- The tombstone goes, and its rotation is kept: nobody gets the passwords of before.
DELETE FROM insula.tenant WHERE id = $1 AND state = 'removed' RETURNING rotation

-- name: rename
-- Without its fingerprint it is provisioned before its next use, as far as that is missing anything. No file has the
-- new id yet, so it is a registered tenant until one does.
UPDATE insula.tenant
SET id = $2, source = 'api', undeclared_at = NULL, schema_name = $3, declaration = $4, rotation = greatest(rotation, $5), origin = coalesce(origin, id),
    fingerprint = NULL, held_for = NULL, held_by = NULL, held_at = NULL, changed_in = pg_current_xact_id()
WHERE id = $1
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, origin

-- name: leave_tombstone
INSERT INTO insula.tenant (id, source, declaration, schema_name, state, rotation, removed_at, renamed_to)
VALUES ($1, 'api', '{}', $2, 'removed', $3, clock_timestamp(), $4)

-- name: bury
-- The tombstone. The rotation makes sure that no login of before fits a tenant of the same id that comes after.
WITH buried AS (
    UPDATE insula.tenant
    SET state = 'removed', engine_version = 0, app_version = 0, fingerprint = NULL, provisioned_at = NULL,
        rotation = rotation + 1, origin = NULL, disabled_at = NULL, disabled_because = '', forced = false,
        changed_in = pg_current_xact_id()
    WHERE id = $1 AND state = 'deleting'
    RETURNING id
), woken AS (
    DELETE FROM insula.wake WHERE tenant IN (SELECT id FROM buried)
)
DELETE FROM insula.schedule WHERE tenant IN (SELECT id FROM buried)
