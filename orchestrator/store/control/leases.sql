-- name: claim
-- Take a tenant that nobody alive serves, under the next epoch, and consume its wake row: whatever becomes
-- due after this statement writes a new one. The node must be alive itself. An owner without a row, or with one
-- that a successor buried, is dead for certain. One whose row has merely expired may be as alive as we are, after
-- an outage that kept it from renewing: $3 says whether we may conclude from it that it is dead. Tells whether the
-- process that held it is proven to have died (`bury`): then what was under way there is suspect. A node that
-- stopped, however fast, has no row any more, and one whose row ran out may only have been cut off: neither proves
-- a crash. The pauses are those that were told last.
-- A tenant that is held (holds.sql) is nobody's. Its row is kept, so that whoever holds it waits for this to end.
WITH quiet AS (
    SELECT held_for IS NOT NULL AS held FROM insula.tenant WHERE id = $1 FOR SHARE
), before AS (
    SELECT owner.expires_at = '-infinity' AS died
    FROM insula.lease AS lease JOIN insula.node AS owner ON owner.id = lease.node
    WHERE lease.tenant = $1 AND lease.node <> $2
), claimed AS (
    INSERT INTO insula.lease AS lease (tenant, node, epoch)
    SELECT $1, node.id, 1 FROM insula.node AS node
    WHERE node.id = $2 AND node.expires_at > clock_timestamp() AND NOT coalesce((SELECT held FROM quiet), false)
    ON CONFLICT (tenant) DO UPDATE SET node = excluded.node, epoch = lease.epoch + 1,
                                       changed_at = clock_timestamp()
    WHERE lease.node IS NULL OR lease.node = excluded.node OR NOT EXISTS (
        SELECT FROM insula.node AS owner
        WHERE owner.id = lease.node
          AND owner.expires_at > CASE WHEN $3 THEN clock_timestamp() ELSE '-infinity' END)
    RETURNING lease.epoch, lease.pauses
), consumed AS (
    DELETE FROM insula.wake WHERE tenant = $1 AND EXISTS (SELECT FROM claimed)
)
SELECT epoch, coalesce((SELECT died FROM before), false) AS left_by_the_dead, pauses FROM claimed;

-- name: holder
-- The node that has a tenant, if it is alive or may be.
SELECT node.name FROM insula.lease AS lease JOIN insula.node AS node ON node.id = lease.node
WHERE lease.tenant = $1 AND node.expires_at > clock_timestamp();

-- name: obstacle
-- Whose a tenant is that we could not claim, and whether that node lives.
SELECT node.name, node.expires_at > clock_timestamp()
FROM insula.lease AS lease JOIN insula.node AS node ON node.id = lease.node
WHERE lease.tenant = $1 AND lease.node <> $2 AND node.expires_at > '-infinity';

-- name: held_for
SELECT held_for FROM insula.tenant WHERE id = $1;

-- name: overtake
-- The fence of the tenant is ahead of a lease that is ours: the control schema was restored from an older copy.
UPDATE insula.lease SET epoch = greatest($4, $3) + 1, changed_at = clock_timestamp()
WHERE tenant = $1 AND node = $2 AND epoch = $3
RETURNING epoch;

-- name: fence
-- In the tenant's database, under the admin login.
SELECT epoch FROM tenant.wf_fence;

-- name: release
-- Let go of a tenant that is still ours, and leave word when it has to be woken and what of it is paused.
WITH released AS (
    UPDATE insula.lease SET node = NULL, pauses = $5, changed_at = clock_timestamp()
    WHERE tenant = $1 AND node = $2 AND epoch = $3
    RETURNING tenant
)
INSERT INTO insula.wake AS wake (tenant, due_at, reason)
SELECT tenant, $4::timestamptz, 'timer' FROM released WHERE $4::timestamptz IS NOT NULL
ON CONFLICT (tenant) DO UPDATE SET reason = CASE WHEN excluded.due_at < wake.due_at
                                                 THEN excluded.reason ELSE wake.reason END,
                                   due_at = least(wake.due_at, excluded.due_at);

-- name: abandon
-- The same for a tenant that failed: it has runs to recover, so it is due now.
WITH released AS (
    UPDATE insula.lease SET node = NULL, changed_at = clock_timestamp()
    WHERE tenant = $1 AND node = $2 AND epoch = $3
    RETURNING tenant
)
INSERT INTO insula.wake AS wake (tenant, due_at, reason)
SELECT tenant, clock_timestamp(), 'recover' FROM released
ON CONFLICT (tenant) DO UPDATE SET due_at = least(wake.due_at, excluded.due_at);

-- name: orphans
-- Tenants with runs to recover: those of a node that is dead (see claim for $2), and those of ours that nobody
-- here serves ($3 are served), because the answer to a claim or to a release was lost.
SELECT lease.tenant FROM insula.lease AS lease
WHERE lease.node IS NOT NULL AND CASE
    WHEN lease.node = $1 THEN lease.tenant <> ALL($3::text[])
    ELSE NOT EXISTS (
        SELECT FROM insula.node AS owner
        WHERE owner.id = lease.node
          AND owner.expires_at > CASE WHEN $2 THEN clock_timestamp() ELSE '-infinity' END)
    END;
