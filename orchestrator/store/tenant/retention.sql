-- name: delete
-- Delete at most `$4` runs that finished before `$3`, oldest first, with their journals and signals. Ids of
-- version 7 begin with the time, so `$2`, the least id of that moment, keeps the search to rows old enough to
-- qualify. A child stays as long as its parent lives, which may still ask how it ended. No row back: a newer
-- owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), old AS MATERIALIZED (
    SELECT run.id FROM fence CROSS JOIN LATERAL (
        SELECT run.id FROM tenant.wf_run AS run
        WHERE run.id < $2 AND run.finished_at < $3
          AND NOT EXISTS (SELECT FROM tenant.wf_run AS parent
                          WHERE parent.id = run.parent_id AND parent.finished_at IS NULL)
        ORDER BY run.id LIMIT $4) AS run
), runs AS (
    DELETE FROM tenant.wf_run AS run USING old WHERE run.id = old.id
), events AS (
    DELETE FROM tenant.wf_event AS event USING old WHERE event.run_id = old.id
), signals AS (
    DELETE FROM tenant.wf_signal AS signal USING old WHERE signal.run_id = old.id
)
SELECT (SELECT count(*) FROM old) AS deleted FROM fence;

-- name: delete_fires
-- The fires before `$2` that are dealt with; each schedule knows up to when all of its are. No row back: a newer
-- owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), fires AS (
    DELETE FROM tenant.wf_fire AS fire USING fence WHERE fire.fire_at < $2 AND fire.outcome <> 'held'
)
SELECT epoch FROM fence;

-- name: sweep
-- At most `$1` values of the cache whose time is over. No fence: what is over is so for every owner.
WITH removed AS (
    DELETE FROM tenant.wf_cache WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tenant.wf_cache WHERE expires_at <= clock_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED
    )) RETURNING 1
)
SELECT count(*) AS swept FROM removed
