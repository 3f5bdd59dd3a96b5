-- Renamings of tenants on shards, of which the registry has told and the shard perhaps not.

-- name: pending
SELECT renaming FROM insula.tenant WHERE id = $1

-- name: waiting
SELECT id, renaming FROM insula.tenant WHERE renaming IS NOT NULL ORDER BY id

-- name: settle
-- Whoever left work behind when the tenant became quiet has been woken by the rename.
UPDATE insula.tenant
SET renaming = NULL, held_for = NULL, held_by = NULL, held_at = NULL, changed_in = pg_current_xact_id()
WHERE id = $1 AND renaming IS NOT NULL
