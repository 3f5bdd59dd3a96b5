-- Tenants that a verb keeps quiet. A hold is the time at which it began, on the tenant's row: whoever comes late finds another.

-- name: take
-- Nothing comes back when the tenant is held already, is being deleted or was. A node that claims the tenant at this
-- moment keeps the row until it has it (leases.sql, claim): who holds sees every lease that was taken before.
UPDATE insula.tenant
SET held_for = $2, held_by = $3, held_at = clock_timestamp(), changed_in = pg_current_xact_id()
WHERE id = $1 AND held_for IS NULL AND state IN ('registered', 'provisioned')
RETURNING held_at

-- name: keep
-- Whether the hold is still in force. The row is kept from then on, until the transaction ends.
SELECT FROM insula.tenant WHERE id = $1 AND held_by = $2 AND held_at = $3 FOR NO KEY UPDATE

-- name: keep_off
-- Whether nobody is at the tenant. Nodes go on to claim it; who would hold, rename or delete it waits.
SELECT FROM insula.tenant WHERE id = $1 AND held_for IS NULL AND state IN ('registered', 'provisioned') FOR SHARE

-- name: release
-- Whoever left work behind when the tenant became quiet is woken: a tenant without tables, or that never had a lease,
-- left none. The lease may be that of a tenant of this id that was deleted.
WITH released AS (
    UPDATE insula.tenant
    SET held_for = NULL, held_by = NULL, held_at = NULL, changed_in = pg_current_xact_id()
    WHERE id = $1 AND held_by = $2 AND held_at = $3
    RETURNING id, state
)
INSERT INTO insula.wake AS wake (tenant, due_at, reason)
SELECT released.id, clock_timestamp(), 'recover' FROM released
WHERE released.state = 'provisioned' AND EXISTS (SELECT FROM insula.lease AS lease WHERE lease.tenant = released.id)
ON CONFLICT (tenant) DO UPDATE SET due_at = least(wake.due_at, excluded.due_at)

-- name: abandoned
-- What a dead node holds, and what $1 holds without knowing ($2 are the tenants that it does hold).
SELECT id, held_for, held_by, held_at FROM insula.tenant AS held
WHERE held_by IS NOT NULL AND CASE
    WHEN held_by = $1 THEN id <> ALL ($2::text[])
    ELSE NOT EXISTS (SELECT FROM insula.node WHERE node.id = held.held_by AND node.expires_at > clock_timestamp())
    END
ORDER BY id
