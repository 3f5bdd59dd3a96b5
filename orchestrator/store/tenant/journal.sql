-- name: take_over
-- The first act of a new owner. Waits for a write of the old owner that is under way (it holds the row
-- FOR SHARE); no row back means a newer owner was here already.
UPDATE tenant.wf_fence SET epoch = $1, seal = $2 WHERE epoch < $1
RETURNING clock_timestamp();

-- name: confirm
-- After a lost connection: are we still the owner? Tells the database's time as well.
SELECT clock_timestamp() FROM tenant.wf_fence WHERE epoch = $1;

-- name: hold
-- The fence for a transaction of several statements.
SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE;

-- name: hurry
-- For the rest of a transaction.
SELECT set_config('lock_timeout', '50ms', true);

-- name: flush
-- One group commit: new runs, changed runs and what happened to them, for all runs of the tenant together; each
-- of the three is a JSON array of objects, whose fields are the columns and whose JSON columns are texts.
-- Every part joins the fence; no row back means that nothing was written and the tenant has a newer owner.
-- A new run whose key is known is not added, and neither are its entries; the count tells. Sent again after
-- an ambiguous commit, the same batch finds its own rows and changes nothing. A finished run changes only
-- when it is reopened. A resting run for which more signals are there than it has `heard` of is due at once:
-- one came while this batch was on its way, and what the batch says of the time would put it to sleep.
-- `$6`, if not null, is what ended: runs that succeeded, failed, died and were cancelled, attempts, and their
-- milliseconds. Each end is in an entry of `logged`, so it counts when they are added, and when sent again no more.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), added AS (
    INSERT INTO tenant.wf_run
        (id, workflow, version, state, queue, priority, rank, epoch, key, tags, input,
         parent_id, due_at, deadline_at, started_at)
    SELECT n.id, n.workflow, n.version, n.state, n.queue, n.priority, n.rank, n.epoch, n.key,
           ARRAY(SELECT json_array_elements_text(n.tags::json)), n.input::json,
           n.parent_id, n.due_at, n.deadline_at,
           CASE WHEN n.state = 'running' THEN clock_timestamp() END
    FROM fence, json_to_recordset($5::json)
         AS n (id uuid, workflow text, version text, state text, queue text, priority int2, rank int8,
               epoch int8, key text, tags text, input text, parent_id uuid, due_at timestamptz,
               deadline_at timestamptz)
    ON CONFLICT DO NOTHING
    RETURNING id, octet_length(input::text) AS bytes
), changed AS (
    UPDATE tenant.wf_run AS run
    SET state = c.state, output = c.output::json, context = c.context::json, error = c.error::json,
        epoch = c.epoch,
        due_at = CASE WHEN c.state = 'waiting' AND c.heard < (
                          SELECT count(*) FROM tenant.wf_signal AS signal
                          WHERE signal.run_id = c.id AND signal.taken_at IS NULL)
                      THEN clock_timestamp() ELSE c.due_at END,
        started_at = CASE WHEN c.state = 'queued' THEN run.started_at
                     ELSE coalesce(run.started_at, clock_timestamp()) END,
        finished_at = CASE WHEN c.finished THEN clock_timestamp() END
    FROM fence, json_to_recordset($4::json)
         AS c (id uuid, state text, output text, context text, error text, due_at timestamptz, epoch int8,
               finished bool, reopened bool, heard int8)
    WHERE run.id = c.id AND (run.finished_at IS NULL OR c.reopened)
), logged AS (
    INSERT INTO tenant.wf_event (run_id, seq, epoch, node, entries)
    SELECT e.run_id, e.seq, $1, $2, e.entries::json
    FROM fence, json_to_recordset($3::json) AS e (run_id uuid, seq int4, entries text, fresh bool)
    WHERE NOT e.fresh OR e.run_id IN (SELECT id FROM added)
    ON CONFLICT DO NOTHING
    RETURNING run_id
), counted AS (
    INSERT INTO tenant.wf_usage
        (submitted, input_bytes, succeeded, failed, dead, cancelled, attempts, task_ms)
    SELECT new.runs, new.bytes, coalesce(($6::int8[])[1], 0), coalesce(($6::int8[])[2], 0),
           coalesce(($6::int8[])[3], 0), coalesce(($6::int8[])[4], 0), coalesce(($6::int8[])[5], 0),
           coalesce(($6::int8[])[6], 0)
    FROM (SELECT count(*) AS runs, coalesce(sum(bytes), 0) AS bytes FROM added) AS new
    WHERE new.runs > 0 OR ($6::int8[] IS NOT NULL AND EXISTS (SELECT FROM logged))
)
SELECT clock_timestamp() AS at, (SELECT count(*) FROM added) AS added FROM fence;

-- name: change
-- A flush that adds no run, as most that end one: with the insert left out it costs the server three quarters.
-- Runs change as in `flush`, word for word.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), changed AS (
    UPDATE tenant.wf_run AS run
    SET state = c.state, output = c.output::json, context = c.context::json, error = c.error::json,
        epoch = c.epoch,
        due_at = CASE WHEN c.state = 'waiting' AND c.heard < (
                          SELECT count(*) FROM tenant.wf_signal AS signal
                          WHERE signal.run_id = c.id AND signal.taken_at IS NULL)
                      THEN clock_timestamp() ELSE c.due_at END,
        started_at = CASE WHEN c.state = 'queued' THEN run.started_at
                     ELSE coalesce(run.started_at, clock_timestamp()) END,
        finished_at = CASE WHEN c.finished THEN clock_timestamp() END
    FROM fence, json_to_recordset($4::json)
         AS c (id uuid, state text, output text, context text, error text, due_at timestamptz, epoch int8,
               finished bool, reopened bool, heard int8)
    WHERE run.id = c.id AND (run.finished_at IS NULL OR c.reopened)
), logged AS (
    INSERT INTO tenant.wf_event (run_id, seq, epoch, node, entries)
    SELECT e.run_id, e.seq, $1, $2, e.entries::json
    FROM fence, json_to_recordset($3::json) AS e (run_id uuid, seq int4, entries text)
    ON CONFLICT DO NOTHING
    RETURNING run_id
), counted AS (
    INSERT INTO tenant.wf_usage (succeeded, failed, dead, cancelled, attempts, task_ms)
    SELECT ($5::int8[])[1], ($5::int8[])[2], ($5::int8[])[3], ($5::int8[])[4], ($5::int8[])[5], ($5::int8[])[6]
    WHERE $5::int8[] IS NOT NULL AND EXISTS (SELECT FROM logged)
)
SELECT clock_timestamp() AS at, 0::bigint AS added FROM fence;

-- name: log
-- A flush that has nothing but what happened, as most steps do: what a statement may write it opens, with all
-- its indexes, and that of the runs would be a third of what this one costs.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), logged AS (
    INSERT INTO tenant.wf_event (run_id, seq, epoch, node, entries)
    SELECT e.run_id, e.seq, $1, $2, e.entries::json
    FROM fence, json_to_recordset($3::json) AS e (run_id uuid, seq int4, entries text)
    ON CONFLICT DO NOTHING
    RETURNING run_id
), counted AS (
    INSERT INTO tenant.wf_usage (succeeded, failed, dead, cancelled, attempts, task_ms)
    SELECT ($4::int8[])[1], ($4::int8[])[2], ($4::int8[])[3], ($4::int8[])[4], ($4::int8[])[5], ($4::int8[])[6]
    WHERE $4::int8[] IS NOT NULL AND EXISTS (SELECT FROM logged)
)
SELECT clock_timestamp() AS at, 0::bigint AS added FROM fence;

-- name: fire
-- What became of fires, in the transaction of the flush that adds their runs, after it. `$2` to `$8` are by
-- fire; the run is found by its key, so it may be one that was there. A fire that is taken already, by another
-- run or with another outcome, is left alone, and the count tells.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), given AS MATERIALIZED (
    SELECT g.* FROM fence, unnest($2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
                                  $8::bool[])
                           AS g (schedule, fire_at, outcome, reason, workflow, key, advances)
), fired AS (
    INSERT INTO tenant.wf_fire AS fire (schedule, fire_at, outcome, reason, run_id)
    SELECT g.schedule, g.fire_at, g.outcome, g.reason, run.id
    FROM given AS g LEFT JOIN tenant.wf_run AS run ON run.workflow = g.workflow AND run.key = g.key
    ON CONFLICT (schedule, fire_at) DO UPDATE
    SET outcome = excluded.outcome, reason = excluded.reason, run_id = excluded.run_id, at = clock_timestamp()
    WHERE fire.outcome = 'held'
       OR (fire.outcome, fire.run_id) IS NOT DISTINCT FROM (excluded.outcome, excluded.run_id)
    RETURNING fire.schedule
), advanced AS (
    UPDATE tenant.wf_schedule AS schedule SET last_fire_at = greatest(schedule.last_fire_at, g.fire_at)
    FROM (SELECT given.schedule, max(given.fire_at) AS fire_at FROM given WHERE given.advances
          GROUP BY given.schedule) AS g
    WHERE schedule.name = g.schedule
)
SELECT (SELECT count(*) FROM fired) AS fired FROM fence;

-- name: send
-- Leave signals for runs that are not finished; a key that was used before leaves nothing more. A row for
-- each run that can still take one, with each signal of it that was left now or, when the same statement is
-- sent again after an ambiguous commit, left then.
WITH wanted AS MATERIALIZED (
    SELECT s.run_id, s.id, s.name, s.key, s.payload
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::json[])
         AS s (run_id, id, name, key, payload)
), live AS MATERIALIZED (
    SELECT run.id FROM tenant.wf_run AS run
    WHERE run.id = ANY($1::uuid[]) AND run.finished_at IS NULL
), sent AS (
    INSERT INTO tenant.wf_signal (run_id, id, name, key, payload)
    SELECT s.run_id, s.id, s.name, s.key, s.payload FROM wanted AS s
    WHERE s.run_id IN (SELECT id FROM live)
    ON CONFLICT DO NOTHING
    RETURNING run_id, id
), there AS (
    SELECT run_id, id FROM sent
    UNION ALL
    SELECT signal.run_id, signal.id FROM tenant.wf_signal AS signal, wanted AS s
    WHERE signal.run_id = s.run_id AND signal.id = s.id AND signal.taken_at IS NULL
)
SELECT live.id AS run_id, there.id AS signal_id FROM live LEFT JOIN there ON there.run_id = live.id;

-- name: take
-- Away with the signals that this flush's entries have taken.
WITH taken AS MATERIALIZED (
    SELECT t.run_id, t.id FROM unnest($1::uuid[], $2::uuid[]) AS t (run_id, id)
), gone AS (
    DELETE FROM tenant.wf_signal AS signal USING taken AS t
    WHERE signal.run_id = t.run_id AND signal.id = t.id AND signal.key IS NULL
)
UPDATE tenant.wf_signal AS signal SET taken_at = clock_timestamp(), payload = 'null'
FROM taken AS t
WHERE signal.run_id = t.run_id AND signal.id = t.id AND signal.key IS NOT NULL;

-- name: nudge
-- Let runs that rest be looked at now. Those in memory as well: should their owner die before it has acted on
-- what came, the next one does.
UPDATE tenant.wf_run AS run SET due_at = clock_timestamp()
WHERE run.id = ANY($1::uuid[]) AND run.finished_at IS NULL AND run.state = 'waiting';

-- name: known
-- Which run holds each id or key: asked only when a flush added fewer runs than it was given. Two looks at an
-- index each: in one with OR, the whole table is read.
SELECT run.id, run.workflow, run.key, run.state
FROM tenant.wf_run AS run WHERE run.id = ANY($1::uuid[])
UNION
SELECT run.id, run.workflow, run.key, run.state
FROM unnest($2::text[], $3::text[]) AS k (workflow, key)
JOIN tenant.wf_run AS run ON run.workflow = k.workflow AND run.key = k.key;
