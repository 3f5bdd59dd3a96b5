-- name: sync
-- Make the stored schedules those that are declared. The times before `$4` are dealt with, whatever was stored:
-- the schedule is new, or has other times now. One that is gone takes the fire with it that it held.
-- No row back: a newer owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), declared AS (
    INSERT INTO tenant.wf_schedule AS known (name, spec, last_fire_at)
    SELECT d.name, d.spec, d.last_fire_at
    FROM fence, unnest($2::text[], $3::json[], $4::timestamptz[]) AS d (name, spec, last_fire_at)
    ON CONFLICT (name) DO UPDATE
    SET spec = excluded.spec, last_fire_at = greatest(known.last_fire_at, excluded.last_fire_at),
        updated_at = clock_timestamp()
), gone AS (
    DELETE FROM tenant.wf_schedule AS known USING fence WHERE known.name <> ALL($2::text[])
), dropped AS (
    UPDATE tenant.wf_fire AS fire SET outcome = 'skipped', reason = 'the schedule was removed'
    FROM fence WHERE fire.outcome = 'held' AND fire.schedule <> ALL($2::text[])
)
SELECT epoch FROM fence;

-- name: stored
-- What is stored of schedules, those in `$1` that are new too: the fire that waits, and the runs that have
-- not ended.
SELECT coalesce(d.name, s.name), s.spec, coalesce(s.paused, false), s.last_fire_at,
       (SELECT min(fire.fire_at) FROM tenant.wf_fire AS fire
        WHERE fire.outcome = 'held' AND fire.schedule = coalesce(d.name, s.name)),
       ARRAY(SELECT run.id FROM tenant.wf_run AS run
             WHERE run.finished_at IS NULL AND starts_with(run.key, 'schedule:')
               AND starts_with(run.key, 'schedule:' || coalesce(d.name, s.name) || ':'))
FROM unnest($1::text[]) AS d (name) FULL JOIN tenant.wf_schedule AS s ON s.name = d.name;

-- name: pause
-- Pause a schedule, or let it go on from `$4`. No row back: a newer owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), changed AS (
    UPDATE tenant.wf_schedule AS schedule
    SET paused = $3, last_fire_at = greatest(schedule.last_fire_at, $4), updated_at = clock_timestamp()
    FROM fence WHERE schedule.name = $2
)
SELECT epoch FROM fence;

-- name: seen
-- Schedules as people see them: whether each is paused, what is dealt with, and its newest fire.
SELECT s.name, s.paused, s.last_fire_at, fire.fire_at, fire.outcome, fire.reason, fire.run_id, fire.at
FROM tenant.wf_schedule AS s LEFT JOIN LATERAL (
    SELECT f.fire_at, f.outcome, f.reason, f.run_id, f.at FROM tenant.wf_fire AS f
    WHERE f.schedule = s.name ORDER BY f.fire_at DESC LIMIT 1) AS fire ON true;
