-- What tenants are to be served as, and what they were served as last.

-- name: compare
-- Those of $1 that are not declared, by $3 (a file, or the API), as the hashes $2 have it; `hash` is the one of before.
SELECT d.id, t.source, t.state, t.config_hash AS hash, t.undeclared_at IS NOT NULL AS undeclared
FROM unnest($1::text[], $2::text[]) AS d (id, hash) LEFT JOIN insula.tenant AS t ON t.id = d.id
WHERE t.id IS NULL OR t.source <> $3 OR t.state = 'removed' OR t.undeclared_at IS NOT NULL
   OR t.config_hash IS DISTINCT FROM d.hash
ORDER BY d.id

-- name: note
UPDATE insula.tenant AS t SET config_hash = d.hash, undeclared_at = NULL
FROM unnest($1::text[], $2::text[]) AS d (id, hash) WHERE t.id = d.id

-- name: limit
-- What insula.submit has to obey; a shard gets a copy of the rows that this changes.
UPDATE insula.tenant AS t SET limits = d.limits::jsonb, changed_in = pg_current_xact_id()
FROM unnest($1::text[], $2::text[]) AS d (id, limits)
WHERE t.id = d.id AND t.limits IS DISTINCT FROM d.limits::jsonb
RETURNING t.id

-- name: leave_out
-- Those that a file declared, and none of $1 is.
UPDATE insula.tenant SET undeclared_at = clock_timestamp()
WHERE source = 'file' AND undeclared_at IS NULL AND state <> 'removed' AND id <> ALL ($1::text[])
RETURNING id

-- name: touch
UPDATE insula.tenant AS t SET last_active_at = clock_timestamp(), applied_hash = d.hash
FROM unnest($1::text[], $2::text[]) AS d (id, hash) WHERE t.id = d.id

-- name: hashes
SELECT config_hash, applied_hash FROM insula.tenant WHERE id = $1
