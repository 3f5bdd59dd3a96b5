-- name: queued
-- The time, and how many runs wait for their turn, counted up to $1.
SELECT clock_timestamp() AS now, (SELECT count(*) FROM (
    SELECT FROM tenant.wf_run AS run
    WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL LIMIT $1) AS waiting) AS queued;

-- name: add
-- Add runs that nobody holds, and a wake row for the tenant $1 in the same commit: see insula.submit, which adds
-- one. A run whose key is known is not added. What is added counts in the usage of the schema $13.
-- Somebody's open transaction may hold a key, for as long as they like: it is waited for a second.
WITH patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', '1s', true)
), added AS (
    INSERT INTO tenant.wf_run
        (id, workflow, version, state, queue, priority, rank, epoch, key, tags, input, due_at, deadline_at)
    SELECT n.id, n.workflow, n.version, 'queued', n.queue, n.priority, n.rank, 0, n.key,
           ARRAY(SELECT json_array_elements_text(n.tags)), n.input, n.due_at, n.deadline_at
    FROM patience, unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::int2[], $7::int8[], $8::text[],
                $9::json[], $10::json[], $11::timestamptz[], $12::timestamptz[])
         AS n (id, workflow, version, queue, priority, rank, key, tags, input, due_at, deadline_at)
    ON CONFLICT DO NOTHING
    RETURNING due_at, octet_length(input::text) AS bytes
)
INSERT INTO insula.submission (tenant, due_at, reason)
SELECT $1, new.due_at, 'submit'
FROM (SELECT min(coalesce(added.due_at, clock_timestamp())) AS due_at, count(*) AS runs, sum(bytes) AS bytes
      FROM added HAVING count(*) > 0) AS new
CROSS JOIN LATERAL insula.count_submitted($13, new.runs, new.bytes)
ON CONFLICT DO NOTHING;
