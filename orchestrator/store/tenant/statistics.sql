-- A tenant in figures, under the control login.

-- name: runs
SELECT run.state, count(*) FROM tenant.wf_run AS run GROUP BY run.state ORDER BY run.state

-- name: lately
-- Ids of version 7 begin with the time: `$1`, the id of somewhat more than a day ago, makes it a range of the
-- primary key, however many runs are kept. The database's clock decides what is within.
SELECT span.name, lately.*
FROM (VALUES ('hour', interval '1 hour'), ('day', interval '1 day')) AS span (name, length)
CROSS JOIN LATERAL (
    SELECT count(*) AS accepted,
           count(*) FILTER (WHERE run.state = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE run.state IN ('failed', 'dead')) AS failed,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM run.finished_at - run.started_at)::float8) AS p50,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM run.finished_at - run.started_at)::float8) AS p95
    FROM tenant.wf_run AS run
    WHERE run.id >= $1 AND run.created_at > now() - span.length) AS lately

-- name: errors
SELECT run.workflow, coalesce(run.error->>'type', '') AS type, count(*) AS runs, max(run.finished_at) AS last_at
FROM tenant.wf_run AS run
WHERE run.id >= $1 AND run.created_at > now() - interval '1 day' AND run.state IN ('failed', 'dead')
GROUP BY 1, 2 ORDER BY runs DESC, 1, 2 LIMIT 10

-- name: tables
-- The collector's count is newer than the planner's, and gone after a crash of the server.
SELECT c.relname::text AS name, pg_total_relation_size(c.oid) AS bytes,
       coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), greatest(c.reltuples, 0)::bigint) AS estimated_rows
FROM pg_class AS c
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind IN ('r', 'm')
ORDER BY c.relname

-- name: connections
SELECT count(*) FROM pg_stat_activity WHERE usename = ANY ($1::text[])

-- name: count_rows
SELECT count(*) FROM :"schema".:"table"
