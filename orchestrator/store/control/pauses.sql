-- Which tenants are paused, as their owners have told it.

-- name: tell
-- Of the owner `$2` under the epoch `$3` nothing is noted when the tenant is another's by now.
UPDATE insula.lease SET pauses = $4 WHERE tenant = $1 AND node = $2 AND epoch = $3

-- name: all_paused
SELECT lease.tenant, lease.pauses FROM insula.lease AS lease WHERE lease.pauses <> '[]' ORDER BY lease.tenant
