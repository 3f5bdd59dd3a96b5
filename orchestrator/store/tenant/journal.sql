-- name: take_over
-- The first act of a new owner. Waits for a write of the old owner that is under way (it holds the row
-- FOR SHARE); no row back means a newer owner was here already.
UPDATE tenant.wf_fence SET epoch = $1 WHERE epoch < $1
RETURNING clock_timestamp();

-- name: confirm
-- After a lost connection: are we still the owner? Tells the database's time as well.
SELECT clock_timestamp() FROM tenant.wf_fence WHERE epoch = $1;

-- name: flush
-- One group commit: new runs, changed runs and what happened to them, for all runs of the tenant together.
-- Every part joins the fence; no row back means that nothing was written and the tenant has a newer owner.
-- A new run whose key is known is not added, and neither are its entries; the count tells. Sent again after
-- an ambiguous commit, the same batch finds its own rows and changes nothing.
WITH fence AS MATERIALIZED (
    SELECT epoch FROM tenant.wf_fence WHERE epoch = $1 FOR SHARE
), added AS (
    INSERT INTO tenant.wf_run
        (id, workflow, version, state, queue, priority, epoch, key, tags, input, started_at)
    SELECT n.id, n.workflow, n.version, n.state, n.queue, n.priority, n.epoch, n.key,
           ARRAY(SELECT json_array_elements_text(n.tags)), n.input,
           CASE WHEN n.state = 'running' THEN clock_timestamp() END
    FROM fence, unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int2[],
                       $9::int8[], $10::text[], $11::json[], $12::json[])
         AS n (id, workflow, version, state, queue, priority, epoch, key, tags, input)
    ON CONFLICT DO NOTHING
    RETURNING id
), changed AS (
    UPDATE tenant.wf_run AS run
    SET state = c.state, output = c.output, context = c.context, error = c.error, due_at = c.due_at,
        started_at = CASE WHEN c.state = 'queued' THEN run.started_at
                     ELSE coalesce(run.started_at, clock_timestamp()) END,
        finished_at = CASE WHEN c.finished THEN clock_timestamp() END
    FROM fence, unnest($13::uuid[], $14::text[], $15::json[], $16::json[], $17::json[],
                       $18::timestamptz[], $19::bool[])
         AS c (id, state, output, context, error, due_at, finished)
    WHERE run.id = c.id AND run.finished_at IS NULL
), logged AS (
    INSERT INTO tenant.wf_event (run_id, seq, epoch, node, entries)
    SELECT e.run_id, e.seq, $1, $2, e.entries
    FROM fence, unnest($20::uuid[], $21::int4[], $22::json[], $23::bool[])
         AS e (run_id, seq, entries, fresh)
    WHERE NOT e.fresh OR e.run_id IN (SELECT id FROM added)
    ON CONFLICT DO NOTHING
)
SELECT clock_timestamp() AS at, (SELECT count(*) FROM added) AS added FROM fence;

-- name: known
-- Which run holds each id or key: asked only when a flush added fewer runs than it was given.
SELECT run.id, run.workflow, run.key, run.state
FROM tenant.wf_run AS run
WHERE run.id = ANY($1::uuid[])
   OR (run.workflow, run.key) IN (SELECT k.workflow, k.key FROM unnest($2::text[], $3::text[])
                                  AS k (workflow, key));
