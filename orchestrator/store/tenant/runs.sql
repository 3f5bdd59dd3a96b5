-- name: claim
-- Take runs that no living owner holds into memory: left by a dead owner, due, or queued and most urgent.
-- `$3`, `$4` are the workflows and versions we serve, the version '' stands for the latest (`$5`, `$6`),
-- which the run then keeps; others are left to `block`. What is paused stays in the table. A run whose code
-- diverged from its journal waits for somebody. At most `$2` rows are read of a kind, however many wait: each
-- part follows its index. The time stands in a SELECT of its own because no index takes a volatile function.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), served AS MATERIALIZED (
    SELECT s.workflow, s.version FROM unnest($3::text[], $4::text[]) AS s (workflow, version)
    UNION SELECT s.workflow, '' FROM unnest($3::text[]) AS s (workflow)
), kind AS MATERIALIZED (
    SELECT s.workflow, s.version FROM served AS s
    WHERE NOT EXISTS (SELECT FROM tenant.wf_pause AS p WHERE p.workflow IN (s.workflow, ''))
), found AS (
    (SELECT run.id FROM kind CROSS JOIN LATERAL (
         SELECT run.id FROM tenant.wf_run AS run
         WHERE run.finished_at IS NULL AND run.state = 'running'
           AND run.workflow = kind.workflow AND run.version = kind.version AND run.epoch < $1
         ORDER BY run.epoch LIMIT $2) AS run
     LIMIT $2)
    UNION ALL
    (SELECT run.id FROM kind CROSS JOIN LATERAL (
         SELECT run.id, run.due_at FROM tenant.wf_run AS run
         WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting')
           AND run.workflow = kind.workflow AND run.version = kind.version
           AND run.due_at <= (SELECT clock_timestamp()) AND run.epoch < $1
         ORDER BY run.due_at LIMIT $2) AS run
     ORDER BY run.due_at LIMIT $2)
    UNION ALL
    (SELECT run.id FROM kind CROSS JOIN LATERAL (
         SELECT run.id, run.rank FROM tenant.wf_run AS run
         WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL
           AND run.workflow = kind.workflow AND run.version = kind.version AND run.epoch < $1
         ORDER BY run.rank LIMIT $2) AS run
     ORDER BY run.rank LIMIT $2)
    UNION ALL
    (SELECT run.id FROM served CROSS JOIN LATERAL (
         SELECT run.id FROM tenant.wf_run AS run
         WHERE run.finished_at IS NULL AND run.state = 'blocked' AND run.error->>'type' <> 'NonDeterminism'
           AND run.workflow = served.workflow AND run.version = served.version AND run.epoch < $1
         ORDER BY run.epoch LIMIT $2) AS run
     LIMIT $2)
)
UPDATE tenant.wf_run AS run
SET epoch = $1, version = CASE WHEN run.version = '' THEN (
        SELECT l.version FROM unnest($5::text[], $6::text[]) AS l (workflow, version)
        WHERE l.workflow = run.workflow) ELSE run.version END
FROM fence WHERE run.id IN (SELECT id FROM found LIMIT $2)
RETURNING run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.rank, run.key,
          run.input, run.parent_id, run.due_at, run.deadline_at;

-- name: claim_these
-- Take certain runs, whatever their state, to do something to them.
UPDATE tenant.wf_run AS run
SET epoch = $1, version = CASE WHEN run.version = '' THEN coalesce((
        SELECT l.version FROM unnest($3::text[], $4::text[]) AS l (workflow, version)
        WHERE l.workflow = run.workflow), '') ELSE run.version END
FROM (SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE) AS fence
WHERE run.id = ANY($2::uuid[])
RETURNING run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.rank, run.key,
          run.input, run.parent_id, run.due_at, run.deadline_at;

-- name: peek
-- One run as it is, without taking it.
SELECT run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.rank, run.key,
       run.input, run.parent_id, run.due_at, run.deadline_at
FROM tenant.wf_run AS run WHERE run.id = $1;

-- name: kinds
-- The workflows and versions of the runs that wait or were under way. Each is one step down an index, from the
-- one before it to the next, however many runs it has.
WITH RECURSIVE queued AS (
    (SELECT run.workflow, run.version FROM tenant.wf_run AS run
     WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL
     ORDER BY run.workflow, run.version LIMIT 1)
    UNION ALL
    SELECT next.workflow, next.version FROM queued AS k CROSS JOIN LATERAL (
        SELECT run.workflow, run.version FROM tenant.wf_run AS run
        WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL
          AND (run.workflow, run.version) > (k.workflow, k.version)
        ORDER BY run.workflow, run.version LIMIT 1) AS next
), due AS (
    (SELECT run.workflow, run.version FROM tenant.wf_run AS run
     WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting') AND run.due_at IS NOT NULL
     ORDER BY run.workflow, run.version LIMIT 1)
    UNION ALL
    SELECT next.workflow, next.version FROM due AS k CROSS JOIN LATERAL (
        SELECT run.workflow, run.version FROM tenant.wf_run AS run
        WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting') AND run.due_at IS NOT NULL
          AND (run.workflow, run.version) > (k.workflow, k.version)
        ORDER BY run.workflow, run.version LIMIT 1) AS next
), running AS (
    (SELECT run.workflow, run.version FROM tenant.wf_run AS run
     WHERE run.finished_at IS NULL AND run.state = 'running'
     ORDER BY run.workflow, run.version LIMIT 1)
    UNION ALL
    SELECT next.workflow, next.version FROM running AS k CROSS JOIN LATERAL (
        SELECT run.workflow, run.version FROM tenant.wf_run AS run
        WHERE run.finished_at IS NULL AND run.state = 'running'
          AND (run.workflow, run.version) > (k.workflow, k.version)
        ORDER BY run.workflow, run.version LIMIT 1) AS next
)
SELECT workflow, version FROM queued UNION SELECT workflow, version FROM due
UNION SELECT workflow, version FROM running;

-- name: block
-- Runs of kinds (`$2`, `$3`) that this daemon does not have: parked, with the reason, never run by wrong code.
-- At most `$4` of a kind and sort at a time. No row back: a newer owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), kind AS MATERIALIZED (
    SELECT k.workflow, k.version FROM unnest($2::text[], $3::text[]) AS k (workflow, version)
), found AS (
    SELECT run.id FROM kind CROSS JOIN LATERAL (
        SELECT run.id FROM tenant.wf_run AS run
        WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL
          AND run.workflow = kind.workflow AND run.version = kind.version AND run.epoch < $1
        ORDER BY run.rank LIMIT $4) AS run
    UNION ALL
    SELECT run.id FROM kind CROSS JOIN LATERAL (
        SELECT run.id FROM tenant.wf_run AS run
        WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting')
          AND run.workflow = kind.workflow AND run.version = kind.version
          AND run.due_at <= (SELECT clock_timestamp()) AND run.epoch < $1
        ORDER BY run.due_at LIMIT $4) AS run
    UNION ALL
    SELECT run.id FROM kind CROSS JOIN LATERAL (
        SELECT run.id FROM tenant.wf_run AS run
        WHERE run.finished_at IS NULL AND run.state = 'running'
          AND run.workflow = kind.workflow AND run.version = kind.version AND run.epoch < $1
        ORDER BY run.epoch LIMIT $4) AS run
), parked AS (
    UPDATE tenant.wf_run AS run
    SET state = 'blocked', error = json_build_object(
            'type', 'WorkflowNotServed',
            'message', format('no node serves workflow %s version %s to this tenant', run.workflow, run.version))
    FROM fence WHERE run.id IN (SELECT id FROM found)
    RETURNING run.id
)
SELECT (SELECT count(*) FROM parked) AS blocked FROM fence;

-- name: outside
-- What waits outside memory, of the kinds `$2`, `$3`: whether a run could go on now (blocked ones of the kinds
-- `$5`, `$6`, which we serve, among them), how many have not begun,
-- paused or not, counted up to `$4`, and when the next one is due. No row back: a newer owner has the tenant.
WITH kind AS MATERIALIZED (
    SELECT k.workflow, k.version,
           EXISTS (SELECT FROM tenant.wf_pause AS p WHERE p.workflow IN (k.workflow, '')) AS paused
    FROM unnest($2::text[], $3::text[]) AS k (workflow, version)
)
SELECT EXISTS (SELECT FROM kind CROSS JOIN LATERAL (
                   SELECT FROM tenant.wf_run AS run
                   WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL
                     AND run.workflow = kind.workflow AND run.version = kind.version AND run.epoch < $1
                   ORDER BY run.rank LIMIT 1) AS run WHERE NOT kind.paused)
       OR EXISTS (SELECT FROM kind CROSS JOIN LATERAL (
                      SELECT FROM tenant.wf_run AS run
                      WHERE run.finished_at IS NULL AND run.state = 'running'
                        AND run.workflow = kind.workflow AND run.version = kind.version AND run.epoch < $1
                      ORDER BY run.epoch LIMIT 1) AS run WHERE NOT kind.paused)
       OR EXISTS (SELECT FROM kind CROSS JOIN LATERAL (
                      SELECT FROM tenant.wf_run AS run
                      WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting')
                        AND run.workflow = kind.workflow AND run.version = kind.version
                        AND run.due_at <= (SELECT clock_timestamp()) AND run.epoch < $1
                      ORDER BY run.due_at LIMIT 1) AS run WHERE NOT kind.paused)
       OR EXISTS (SELECT FROM unnest($5::text[], $6::text[]) AS served (workflow, version) CROSS JOIN LATERAL (
                      SELECT FROM tenant.wf_run AS run
                      WHERE run.finished_at IS NULL AND run.state = 'blocked'
                        AND run.error->>'type' <> 'NonDeterminism' AND run.workflow = served.workflow
                        AND run.version = served.version AND run.epoch < $1
                      ORDER BY run.epoch LIMIT 1) AS run) AS waiting,
       (SELECT count(*) FROM (
            SELECT FROM (
                SELECT run.epoch FROM kind CROSS JOIN LATERAL (
                    SELECT run.epoch FROM tenant.wf_run AS run
                    WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL
                      AND run.workflow = kind.workflow AND run.version = kind.version
                      AND run.epoch < $1) AS run
                UNION ALL
                SELECT run.epoch FROM kind CROSS JOIN LATERAL (
                    SELECT run.epoch, run.state FROM tenant.wf_run AS run
                    WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting')
                      AND run.workflow = kind.workflow AND run.version = kind.version
                      AND run.due_at <= (SELECT clock_timestamp()) AND run.epoch < $1) AS run
                WHERE run.state = 'queued') AS run
            LIMIT $4) AS counted) AS queued,
       (SELECT min(run.due_at) FROM kind CROSS JOIN LATERAL (
            SELECT run.due_at FROM tenant.wf_run AS run
            WHERE run.finished_at IS NULL AND run.state IN ('queued', 'waiting')
              AND run.workflow = kind.workflow AND run.version = kind.version
              AND run.due_at > (SELECT clock_timestamp()) AND run.epoch < $1
            ORDER BY run.due_at LIMIT 1) AS run WHERE NOT kind.paused) AS due_at
FROM tenant.wf_fence AS fence WHERE fence.epoch = $1;

-- name: signals
-- What was sent to some runs and not taken yet, oldest first.
SELECT signal.run_id, signal.id, signal.name, signal.payload FROM tenant.wf_signal AS signal
WHERE signal.run_id = ANY($1::uuid[]) AND signal.taken_at IS NULL
ORDER BY signal.sent_at, signal.id;

-- name: ended
-- How some runs ended, of those that have.
SELECT run.id, run.state, run.output, run.error FROM tenant.wf_run AS run
WHERE run.id = ANY($1::uuid[]) AND run.finished_at IS NOT NULL;

-- name: orphans
-- Live runs whose parent has ended: what an owner that died at the parent's end left to do.
SELECT run.id, run.parent_id FROM tenant.wf_run AS run
WHERE run.finished_at IS NULL AND run.parent_id IS NOT NULL
  AND EXISTS (SELECT FROM tenant.wf_run AS parent
              WHERE parent.id = run.parent_id AND parent.finished_at IS NOT NULL);

-- name: pause
-- No row back, here and in the next one: a newer owner has the tenant.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), paused AS (
    INSERT INTO tenant.wf_pause AS p (workflow, reason) SELECT $2, $3 FROM fence
    ON CONFLICT (workflow) DO UPDATE SET reason = excluded.reason WHERE excluded.reason <> ''
)
SELECT epoch FROM fence;

-- name: unpause
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), resumed AS (
    DELETE FROM tenant.wf_pause AS p USING fence WHERE p.workflow = $2
)
SELECT epoch FROM fence;

-- name: paused
SELECT p.workflow, p.paused_at AS since, p.reason FROM tenant.wf_pause AS p ORDER BY p.workflow;

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
WHERE ($1::text[] IS NULL OR run.state = ANY($1))
  AND ($2::text IS NULL OR run.workflow = $2)
  AND ($3::timestamptz IS NULL OR run.created_at >= $3)
  AND ($4::uuid IS NULL OR run.id < $4)
ORDER BY run.id DESC
LIMIT $5;

-- name: read
SELECT run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.created_at,
       run.started_at, run.finished_at, run.key, run.input, run.output, run.context, run.error, run.tags,
       run.due_at, run.deadline_at
FROM tenant.wf_run AS run
WHERE run.id = $1;

-- name: exists
SELECT EXISTS (SELECT FROM tenant.wf_run AS run WHERE run.id = $1);

-- name: history
-- A run's journal, or its part from entry `$2` on: that entry may stand in the middle of a row.
SELECT event.seq, event.at, event.epoch, event.node, event.entries FROM tenant.wf_event AS event
WHERE event.run_id = $1
  AND event.seq >= coalesce((SELECT max(before.seq) FROM tenant.wf_event AS before
                             WHERE before.run_id = $1 AND before.seq <= $2), 0)
ORDER BY event.seq
LIMIT $3;
