-- The keys of tenants, in the control schema alone.

-- name: known
-- Those of the tenant $1, the newest last. Of the ones that are named in $2 also those of others, if they are erased or
-- $3 says so.
SELECT id, tenant, wrapped, wrapped_by, erased_at FROM insula.tenant_key
WHERE tenant = $1 OR id::text = ANY ($2::text[]) AND ($3 OR wrapped IS NULL)
ORDER BY created_at, id

-- name: add
-- Of two that add the first one at once, both may: each names what it has sealed.
INSERT INTO insula.tenant_key (id, tenant, wrapped, wrapped_by) VALUES ($1, $2, $3, $4)

-- name: rewrap
UPDATE insula.tenant_key SET tenant = $2, wrapped = $3, wrapped_by = $4 WHERE id = $1 AND wrapped IS NOT NULL

-- name: rename_erased
UPDATE insula.tenant_key SET tenant = $2 WHERE tenant = $1 AND wrapped IS NULL

-- name: erase
UPDATE insula.tenant_key SET wrapped = NULL, erased_at = clock_timestamp() WHERE tenant = $1 AND wrapped IS NOT NULL

-- name: erased
SELECT count(*) FROM insula.tenant_key WHERE tenant = $1 AND wrapped IS NULL

-- name: any_erased
SELECT EXISTS (SELECT FROM insula.tenant_key WHERE wrapped IS NULL)

-- name: rewrite
-- What was there before an erasure goes with the table's file. A plain VACUUM takes it off the page's list alone, and
-- leaves its bytes there. The table is small: this takes milliseconds.
VACUUM (FULL) insula.tenant_key

-- name: count
-- Counts the dead rows that were copied because an older transaction may still see them.
VACUUM insula.tenant_key

-- name: left
SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'insula.tenant_key'::regclass
