-- A tenant's data in forms that any program reads. `tenant.` is its schema.

-- name: app_tables
-- The application's tables, those first that others refer to; one that refers to itself is no obstacle.
WITH RECURSIVE own AS (
    SELECT c.oid, c.relname FROM pg_class AS c
    WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'r'
      AND NOT starts_with(c.relname, 'wf_')
), link AS (
    SELECT DISTINCT conrelid, confrelid FROM pg_constraint
    WHERE contype = 'f' AND conrelid <> confrelid AND conrelid IN (SELECT oid FROM own)
), depth AS (
    SELECT oid, 0 AS level, ARRAY[oid] AS path FROM own
    UNION ALL
    SELECT link.conrelid, depth.level + 1, depth.path || link.conrelid
    FROM depth JOIN link ON link.confrelid = depth.oid WHERE link.conrelid <> ALL (depth.path)
)
SELECT own.relname::text AS name,
       (SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') FROM pg_attribute AS a
        WHERE a.attrelid = own.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
FROM own ORDER BY (SELECT max(level) FROM depth WHERE depth.oid = own.oid), own.relname COLLATE "C"

-- name: finished_runs
SELECT id, workflow, version, state, queue, priority, key, parent_id, tags, input, output, context, error,
       created_at, started_at, finished_at
FROM tenant.wf_run WHERE finished_at IS NOT NULL ORDER BY id
