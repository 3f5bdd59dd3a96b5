-- A tenant's dead letters: runs that failed for good or were parked as poison, and that nobody has discarded
-- since. The condition is the one of the index wf_run_dead, so it is spelled alike in every statement.

-- name: page
-- Newest first, as the list of all runs.
SELECT run.id, run.workflow, run.version, run.state, run.queue, run.priority, run.created_at,
       run.started_at, run.finished_at, run.key
FROM tenant.wf_run AS run
WHERE run.state IN ('failed', 'dead')
  AND (run.discarded_at IS NULL OR run.discarded_at < run.finished_at)
  AND ($1::uuid IS NULL OR run.id < $1)
ORDER BY run.id DESC
LIMIT $2;

-- name: oldest
SELECT run.id FROM tenant.wf_run AS run
WHERE run.state IN ('failed', 'dead')
  AND (run.discarded_at IS NULL OR run.discarded_at < run.finished_at)
ORDER BY run.id
LIMIT $1;

-- name: count
SELECT count(*) FROM tenant.wf_run AS run
WHERE run.state IN ('failed', 'dead')
  AND (run.discarded_at IS NULL OR run.discarded_at < run.finished_at);

-- name: discard
-- Mark finished runs. This is no owner's write and needs no fence: no owner has anything to say of a finished
-- run, unless it was asked to retry it, and that clears the state that is looked for here.
UPDATE tenant.wf_run AS run SET discarded_at = clock_timestamp()
WHERE run.id = ANY($1::uuid[]) AND run.state IN ('failed', 'dead')
RETURNING run.id;
