-- name: claim
-- Take runs that no living owner holds into memory: new from outside, left by a dead owner, or beyond what
-- fitted before. `$3`, `$4` are the workflows and versions we serve; the others are left to `block`.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), due AS (
    SELECT run.id FROM tenant.wf_run AS run, fence
    WHERE run.finished_at IS NULL AND run.epoch < $1
      AND (run.workflow, run.version) IN (SELECT s.workflow, s.version
                                          FROM unnest($3::text[], $4::text[]) AS s (workflow, version))
    ORDER BY run.priority DESC, run.id
    LIMIT $2
)
UPDATE tenant.wf_run AS run SET epoch = $1
FROM due WHERE run.id = due.id
RETURNING run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.key, run.input;

-- name: block
-- Runs whose workflow or version this daemon does not have: parked, with the reason, never run by wrong code.
-- No row back: a newer owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), parked AS (
    UPDATE tenant.wf_run AS run
    SET state = 'blocked', error = json_build_object(
            'type', 'WorkflowNotServed',
            'message', format('no worker has workflow %s version %s', run.workflow, run.version))
    FROM fence
    WHERE run.finished_at IS NULL AND run.epoch < $1 AND run.state <> 'blocked'
      AND (run.workflow, run.version) NOT IN (
          SELECT s.workflow, s.version FROM unnest($2::text[], $3::text[]) AS s (workflow, version))
    RETURNING run.id
)
SELECT (SELECT count(*) FROM parked) AS blocked FROM fence;

-- name: unclaimed
-- How many runs that we could serve wait outside memory.
SELECT count(*) FROM tenant.wf_run AS run
WHERE run.finished_at IS NULL AND run.epoch < $1 AND run.state <> 'blocked';

-- name: accepted_lately
-- Runs accepted within a day, by minute. Ids of version 7 begin with the time in milliseconds, so `$1`, the
-- id of that moment, makes it a range of the primary key, and the rows themselves are not read.
SELECT date_trunc('minute', to_timestamp(
           ('x' || substr(replace(run.id::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0)) AS minute,
       count(*)
FROM tenant.wf_run AS run
WHERE run.id >= $1
GROUP BY minute ORDER BY minute;

-- name: entries
-- The journals of some runs, in order.
SELECT event.run_id, event.seq, event.entries FROM tenant.wf_event AS event
WHERE event.run_id = ANY($1::uuid[])
ORDER BY event.run_id, event.seq;

-- name: page
-- Newest first; ids of version 7 sort by time, so the primary key is the index.
SELECT run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.created_at,
       run.started_at, run.finished_at, run.key
FROM tenant.wf_run AS run
WHERE ($1::text IS NULL OR run.state = $1)
  AND ($2::text IS NULL OR run.workflow = $2)
  AND ($3::timestamptz IS NULL OR run.created_at >= $3)
  AND ($4::uuid IS NULL OR run.id < $4)
ORDER BY run.id DESC
LIMIT $5;

-- name: read
SELECT run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.created_at,
       run.started_at, run.finished_at, run.key, run.input, run.output, run.context, run.error, run.tags
FROM tenant.wf_run AS run
WHERE run.id = $1;

-- name: history
SELECT event.seq, event.at, event.entries FROM tenant.wf_event AS event
WHERE event.run_id = $1
ORDER BY event.seq;
