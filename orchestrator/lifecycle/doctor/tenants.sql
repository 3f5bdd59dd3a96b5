-- All tenants at once: what is there without being known, and what ails them.

-- name: control_version
SELECT coalesce(max(number), 0) FROM insula.migration

-- name: has_control
SELECT EXISTS (
    SELECT FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE nspname = 'insula' AND relname = 'migration'
)

-- name: schemas
-- Those with a ledger of ours.
SELECT nspname::text
FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relname = 'wf_migration' AND starts_with(nspname, 'tenant_')
ORDER BY nspname

-- name: roles
-- Those with the mark of this installation.
SELECT rolname::text FROM pg_roles
WHERE shobj_description(oid, 'pg_authid') = $1
ORDER BY rolname

-- name: invalid_indexes
SELECT n.nspname::text AS schema, c.relname::text AS index, t.relname::text AS table
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind = 'i' AND n.nspname = ANY ($1::text[])
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)
ORDER BY 1, 2

-- name: bloated
-- Where dead rows are many, and more than autovacuum leaves as a rule.
SELECT schemaname::text AS schema, relname::text AS table, n_dead_tup AS dead, n_live_tup AS live,
    greatest(last_vacuum, last_autovacuum) AT TIME ZONE 'UTC' AS vacuumed
FROM pg_stat_all_tables
WHERE schemaname = ANY ($1::text[]) AND n_dead_tup > 10000 AND n_dead_tup > n_live_tup / 2
ORDER BY n_dead_tup DESC
