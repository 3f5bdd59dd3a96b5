-- The keys of tenants, in the control schema alone.

-- name: holder
SELECT registration FROM insula.tenant WHERE id = $1

-- name: known
-- Those of the tenant $1 of the registration $2, the newest last. Of the ones that are named in $3 also those of others,
-- former tenants of its id among them, if they are erased or $4 says so.
SELECT id, tenant, registration, wrapped, wrapped_by, erased_at FROM insula.tenant_key
WHERE tenant = $1 AND registration = $2 OR id::text = ANY ($3::text[]) AND ($4 OR wrapped IS NULL)
ORDER BY created_at, id

-- name: add
-- Of two that add the first one at once, both may: each names what it has sealed.
INSERT INTO insula.tenant_key (id, tenant, registration, wrapped, wrapped_by) VALUES ($1, $2, $3, $4, $5)

-- name: rewrap
UPDATE insula.tenant_key SET tenant = $2, wrapped = $3, wrapped_by = $4 WHERE id = $1 AND wrapped IS NOT NULL

-- name: erase_former
-- Those of every tenant that was called $1, and of none that is there: it may have begun a moment ago.
UPDATE insula.tenant_key AS key SET wrapped = NULL, erased_at = clock_timestamp()
WHERE tenant = $1 AND wrapped IS NOT NULL AND NOT EXISTS (
    SELECT FROM insula.tenant AS t WHERE t.registration = key.registration AND t.state <> 'removed')

-- name: erased
SELECT count(*) FILTER (WHERE registration = $2 AND wrapped IS NULL) AS keys,
       count(*) FILTER (WHERE registration <> $2 AND wrapped IS NOT NULL) AS former
FROM insula.tenant_key WHERE tenant = $1

-- name: former_erased
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
