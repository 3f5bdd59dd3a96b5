-- What is on a shard, or beside the control schema, and is no tenant's home.

-- name: copies
-- Schemas that are kept after a move, and those that were copied and never became a tenant's ($1 begins their mark).
SELECT nspname::text AS schema, coalesce(obj_description(oid, 'pg_namespace'), '') AS said
FROM pg_namespace
WHERE nspname ^@ 'moved_' OR nspname ^@ 'tenant_' AND obj_description(oid, 'pg_namespace') ^@ $1
ORDER BY 1
