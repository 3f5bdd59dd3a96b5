-- The control schema of a shard: whose it is, the copy of its tenants' rows, and what the daemon fetches from there.

-- name: whose
SELECT id, shard, isolation FROM insula.installation

-- name: adopt
UPDATE insula.installation SET id = $1, shard = $2, isolation = $3

-- name: of_shard
-- On the control database: the rows of a shard's tenants, and of those that the shard has a copy of.
SELECT coalesce(json_agg(t), '[]')::text FROM insula.tenant AS t WHERE shard = $1 OR id = ANY($2::text[])

-- name: of_tenants
SELECT coalesce(json_agg(t), '[]')::text FROM insula.tenant AS t WHERE id = ANY($1::text[])

-- name: copied
SELECT id FROM insula.tenant

-- name: forget
-- On the shard: make room for what is newer. Of two nodes that copy the same row at once, the later change stays; all
-- give way when $2, since a restored control schema counts its transactions anew.
DELETE FROM insula.tenant AS old USING json_populate_recordset(NULL::insula.tenant, $1::json) AS new
WHERE old.id = new.id AND (new.changed_in >= old.changed_in OR $2)

-- name: copy
INSERT INTO insula.tenant SELECT * FROM json_populate_recordset(NULL::insula.tenant, $1::json) ON CONFLICT DO NOTHING

-- name: submissions
-- The oldest wake rows that insula.submit has left on the shard; a sleeping tenant has to be woken for later ones, too.
SELECT tenant, submitter::text, due_at FROM insula.submission ORDER BY due_at LIMIT $1

-- name: wake
-- On the control database: what was fetched joins the wake index.
INSERT INTO insula.wake AS wake (tenant, due_at, reason)
SELECT d.tenant, min(d.due_at), 'submit' FROM unnest($1::text[], $2::timestamptz[]) AS d (tenant, due_at)
GROUP BY d.tenant ORDER BY d.tenant
ON CONFLICT (tenant) DO UPDATE SET due_at = least(wake.due_at, excluded.due_at)

-- name: fetched
DELETE FROM insula.submission AS s
USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS d (tenant, submitter, due_at)
WHERE s.tenant = d.tenant AND s.submitter = d.submitter::xid8 AND s.due_at = d.due_at
