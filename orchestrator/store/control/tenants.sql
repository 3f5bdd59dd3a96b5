-- The registry: every tenant that was ever declared, and what has been made for it.

-- name: installation
SELECT id FROM insula.installation

-- name: lock
-- Two nodes that declare the same tenant at once would meet at the unique name of its schema, which no ON CONFLICT
-- of its id forgives.
LOCK TABLE insula.tenant IN SHARE ROW EXCLUSIVE MODE

-- name: declare
-- Note the tenants of the files. A row made at run time becomes the file's when a file names it;
-- a removed one begins anew, unless a shard has yet to rename it; one that is being deleted goes on to be so. Whoever has
-- tables stays where they are. Rows that say the same are not written.
INSERT INTO insula.tenant AS known (id, source, declaration, schema_name, shard)
SELECT id, 'file', declaration, schema_name, shard
FROM unnest($1::text[], $2::json[], $3::text[], $4::text[]) AS declared (id, declaration, schema_name, shard)
ON CONFLICT (id) DO UPDATE SET
    source = excluded.source,
    declaration = excluded.declaration,
    state = CASE WHEN known.state <> 'removed' OR EXISTS (SELECT FROM insula.tenant AS t WHERE t.renaming = known.id)
                 THEN known.state ELSE 'registered' END,
    removed_at = CASE WHEN known.state IN ('deleting', 'archived') THEN known.removed_at END,
    shard = CASE WHEN known.state IN ('registered', 'removed') THEN excluded.shard ELSE known.shard END,
    renamed_to = NULL,
    changed_in = pg_current_xact_id()
WHERE known.source <> 'file'
   OR known.declaration::text <> excluded.declaration::text
   OR known.state = 'removed'
   OR known.state = 'registered' AND known.shard <> excluded.shard

-- name: register
-- Nothing comes back when the id is taken.
INSERT INTO insula.tenant AS known (id, source, declaration, schema_name, shard)
VALUES ($1, 'api', $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET
    source = excluded.source,
    declaration = excluded.declaration,
    state = 'registered',
    shard = excluded.shard,
    removed_at = NULL,
    renamed_to = NULL,
    changed_in = pg_current_xact_id()
WHERE known.state = 'removed' AND NOT EXISTS (SELECT FROM insula.tenant AS t WHERE t.renaming = known.id)
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits

-- name: fetch
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits
FROM insula.tenant
WHERE id = $1

-- name: fetch_changed
-- What was changed by a transaction that was not over at the look before, or began since.
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits
FROM insula.tenant
WHERE changed_in >= $1::text::xid8

-- name: horizon
-- Every transaction below it is over, so that whoever looks now sees what it changed.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text

-- name: fetch_all
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits
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
    provisioned_at = coalesce(provisioned_at, now()),
    changed_in = pg_current_xact_id()
WHERE id = $1 AND state IN ('registered', 'provisioned')
RETURNING id

-- name: rotate
UPDATE insula.tenant SET rotation = rotation + 1, changed_in = pg_current_xact_id()
WHERE id = $1 AND state IN ('registered', 'provisioned') AND held_for IS NULL
RETURNING rotation

-- name: redeclare
-- Only one that was registered at run time: a file's declaration is changed in the file.
UPDATE insula.tenant
SET declaration = $2, shard = CASE state WHEN 'registered' THEN $3 ELSE shard END, changed_in = pg_current_xact_id()
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
-- Asked again it says again what becomes of the results, and goes on. What was forced stays so, and
-- an erasure one: somebody was promised that the keys go.
UPDATE insula.tenant
SET state = 'deleting', forced = forced OR $3,
    results = CASE WHEN state = 'deleting' AND results = 'erase' THEN results ELSE $2 END,
    removed_at = coalesce(removed_at, clock_timestamp()),
    changed_in = pg_current_xact_id()
WHERE id = $1 AND state <> 'removed' AND held_for IS NULL
    AND (state <> 'deleting' OR results = 'archive' OR $2 <> 'archive')
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits

-- name: unmark_deleting
-- Without its fingerprint it is provisioned before its next use, which puts its logins back.
UPDATE insula.tenant
SET state = CASE WHEN archive IS NOT NULL THEN 'archived' WHEN provisioned_at IS NULL THEN 'registered'
                 ELSE 'provisioned' END,
    removed_at = CASE WHEN archive IS NOT NULL THEN removed_at END,
    results = NULL, forced = false, fingerprint = NULL, changed_in = pg_current_xact_id()
WHERE id = $1 AND state = 'deleting' AND removed_at = $2

-- name: deleting
SELECT id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits
FROM insula.tenant
WHERE state = 'deleting' ORDER BY id

-- name: still_deleting
-- Whether it is that deletion which began at $2: another node may have ended it, and the id been used again.
SELECT EXISTS (SELECT FROM insula.tenant WHERE id = $1 AND state = 'deleting' AND removed_at = $2)

-- name: is_removed
-- Who waited for its deletion must not make it anew.
SELECT EXISTS (SELECT FROM insula.tenant WHERE id = $1 AND state IN ('deleting', 'removed'))

-- name: move
-- Its tables are on shard $2 from now on, and a copy of before is kept on $3. Without its fingerprint it is provisioned
-- before its next use. Without a copy only one that has no tables: it may have been restored until now.
UPDATE insula.tenant
SET shard = $2, moved_from = $3::text, fingerprint = NULL, changed_in = pg_current_xact_id()
WHERE id = $1 AND state IN ('registered', 'provisioned') AND (provisioned_at IS NULL OR $3::text IS NOT NULL)
RETURNING id

-- name: forget_kept
UPDATE insula.tenant SET moved_from = NULL, changed_in = pg_current_xact_id() WHERE id = $1

-- name: unearth
-- The tombstone goes, unless a shard has yet to rename who was called so, and its rotation is kept: nobody gets the
-- passwords of before.
DELETE FROM insula.tenant AS known
WHERE id = $1 AND state = 'removed' AND NOT EXISTS (SELECT FROM insula.tenant AS t WHERE t.renaming = known.id)
RETURNING rotation

-- name: rename
-- Without its fingerprint it is provisioned before its next use, as far as that is missing anything. No file has the
-- new id yet, so it is a registered tenant until one does. It stays held while its shard has yet to rename it ($6).
UPDATE insula.tenant
SET id = $2, source = 'api', undeclared_at = NULL, schema_name = $3, declaration = $4,
    rotation = greatest(rotation, $5), origin = coalesce(origin, id),
    fingerprint = NULL, changed_in = pg_current_xact_id(), renaming = CASE WHEN $6 THEN id END,
    held_for = CASE WHEN $6 THEN held_for END, held_by = CASE WHEN $6 THEN held_by END,
    held_at = CASE WHEN $6 THEN held_at END
WHERE id = $1
RETURNING id, source, declaration, schema_name, state, engine_version, app_version,
    rotation, fingerprint, created_at, provisioned_at, last_active_at, disabled_at, disabled_because, results,
    removed_at, forced, held_for, held_at, shard, origin, moved_from, archive, registration, limits

-- name: leave_tombstone
INSERT INTO insula.tenant (id, source, declaration, schema_name, state, rotation, removed_at, renamed_to)
VALUES ($1, 'api', '{}', $2, 'removed', $3, clock_timestamp(), $4)

-- name: bury
-- The tombstone, or what stays of an archived tenant, which keeps its tokens; where it is to be erased, its keys go.
-- A tombstone tells nothing of what the tenant was declared as: names, inputs of schedules and settings were its data.
-- The rotation makes sure that no login of before fits a tenant of the same id that comes after. An owner that was thought
-- dead, and is not, finds that the lease is no more its own.
WITH buried AS (
    UPDATE insula.tenant
    SET state = CASE WHEN $2::text IS NULL THEN 'removed' ELSE 'archived' END, archive = $2,
        moved_from = NULL, engine_version = 0, app_version = 0, fingerprint = NULL, provisioned_at = NULL, rotation = rotation + 1,
        declaration = CASE WHEN $2 IS NOT NULL THEN declaration ELSE '{}' END,
        limits = CASE WHEN $2 IS NOT NULL THEN limits END,
        origin = CASE WHEN $2 IS NOT NULL THEN origin END,
        last_active_at = CASE WHEN $2 IS NOT NULL THEN last_active_at END,
        config_hash = CASE WHEN $2 IS NOT NULL THEN config_hash END,
        applied_hash = CASE WHEN $2 IS NOT NULL THEN applied_hash END,
        disabled_at = CASE WHEN $2 IS NOT NULL THEN disabled_at END,
        disabled_because = CASE WHEN $2 IS NULL THEN '' ELSE disabled_because END, forced = false,
        changed_in = pg_current_xact_id()
    WHERE id = $1 AND state = 'deleting'
    RETURNING id, results, registration
), erased AS (
    UPDATE insula.tenant_key SET wrapped = NULL, erased_at = clock_timestamp()
    WHERE wrapped IS NOT NULL
      AND (tenant, registration) IN (SELECT id, registration FROM buried WHERE results = 'erase')
), woken AS (
    DELETE FROM insula.wake WHERE tenant IN (SELECT id FROM buried)
), void AS (
    DELETE FROM insula.token WHERE $2 IS NULL AND tenant IN (SELECT id FROM buried)
), counted AS (
    DELETE FROM insula.figures WHERE tenant IN (SELECT id FROM buried)
), fenced AS (
    UPDATE insula.lease SET node = NULL, pauses = '[]', changed_at = clock_timestamp()
    WHERE (node IS NOT NULL OR pauses <> '[]') AND tenant IN (SELECT id FROM buried)
), warned AS (
    DELETE FROM insula.alert WHERE $2 IS NULL AND registration IN (SELECT registration FROM buried)
), told AS (
    DELETE FROM insula.transition WHERE $2 IS NULL AND registration IN (SELECT registration FROM buried)
)
DELETE FROM insula.schedule WHERE tenant IN (SELECT id FROM buried)

-- name: bring_back
-- What was made of an archive. Without its fingerprint it is provisioned before its next use: what the application
-- has changed since the archive is made up for then. One that is declared keeps its declaration; it is on the shard $8,
-- wherever it was before. Its keys are those of the registration $10: a new one where nobody is, and else that of who is
-- there. Whoever came or went meanwhile has another one.
WITH back AS (
    INSERT INTO insula.tenant AS known
        (id, source, declaration, schema_name, state, engine_version, app_version, provisioned_at, origin, shard, limits,
         registration)
    VALUES ($1, 'api', $2, $3, 'provisioned', $4, $5, now(), $7, $8, $9, $10)
    ON CONFLICT (id) DO UPDATE SET
        source = CASE known.state WHEN 'removed' THEN 'api' ELSE known.source END,
        declaration = CASE known.state WHEN 'removed' THEN excluded.declaration ELSE known.declaration END,
        limits = CASE known.state WHEN 'registered' THEN known.limits ELSE excluded.limits END,
        origin = CASE known.state WHEN 'archived' THEN known.origin ELSE $7 END, renamed_to = NULL,
        shard = $8, moved_from = NULL, registration = $10,
        state = 'provisioned', engine_version = $4, app_version = $5, provisioned_at = now(),
        fingerprint = NULL, results = NULL, archive = NULL, removed_at = NULL, last_active_at = now(),
        changed_in = pg_current_xact_id()
    WHERE known.state IN ('registered', 'removed', 'archived') AND known.provisioned_at IS NULL
      AND CASE known.state WHEN 'removed' THEN NOT EXISTS (SELECT FROM insula.tenant AS t WHERE t.registration = $10)
          ELSE known.registration = $10 END
      AND NOT EXISTS (SELECT FROM insula.tenant AS t WHERE t.renaming = known.id)
    RETURNING id
), woken AS (
    INSERT INTO insula.wake AS wake (tenant, due_at, reason) SELECT id, clock_timestamp(), 'restored' FROM back WHERE $6
    ON CONFLICT (tenant) DO UPDATE SET due_at = least(wake.due_at, excluded.due_at)
)
SELECT id FROM back

-- name: inactive
-- Tenants that nobody has used for $1, and that have nothing to do by themselves; the longest unused first.
SELECT id FROM insula.tenant AS t
WHERE state = 'provisioned' AND coalesce(last_active_at, provisioned_at) < now() - $1::interval AND held_for IS NULL
  AND NOT EXISTS (SELECT FROM insula.wake AS w WHERE w.tenant = t.id)
  AND NOT EXISTS (SELECT FROM insula.lease AS l WHERE l.tenant = t.id AND l.node IS NOT NULL)
ORDER BY coalesce(last_active_at, provisioned_at)
