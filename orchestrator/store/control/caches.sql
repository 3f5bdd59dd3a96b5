-- The caches of tenants on a server of their own.

-- name: opened
INSERT INTO insula.cache AS cache (tenant, schema_number) VALUES ($1, $2)
ON CONFLICT (tenant, schema_number) DO UPDATE SET opened_at = clock_timestamp()

-- name: remaining
-- Those of tenants that are gone, or under another id, and those that a tenant has had before its last one.
SELECT cache.tenant, cache.schema_number, cache.opened_at FROM insula.cache AS cache
WHERE NOT EXISTS (SELECT FROM insula.tenant AS known
                  WHERE known.id = cache.tenant AND known.state NOT IN ('removed', 'archived'))
   OR EXISTS (SELECT FROM insula.cache AS later
              WHERE later.tenant = cache.tenant AND later.opened_at > cache.opened_at)
ORDER BY cache.tenant, cache.schema_number

-- name: forget
-- Nothing comes back when another node was faster, or when it was opened again meanwhile: it has values then.
DELETE FROM insula.cache WHERE tenant = $1 AND schema_number = $2 AND opened_at = $3 RETURNING tenant
