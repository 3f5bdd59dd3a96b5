-- Databases of tenants that have one of their own, over a connection to another database of that server.

-- name: exists
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)

-- name: create
CREATE DATABASE :"database" TEMPLATE template0;

-- name: close
-- Whoever else logs in to the server has no business there.
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;

-- name: is_ready
SELECT to_regclass('insula.submission') IS NOT NULL

-- name: drop
DROP DATABASE IF EXISTS :"database" WITH (FORCE);

-- name: drop_unused
DROP DATABASE IF EXISTS :"database";

-- name: send_away
-- Not ours, which are there for a moment: the server waits five seconds for them.
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = $1 AND pid <> pg_backend_pid() AND application_name NOT LIKE 'insula %'

-- name: rename
ALTER DATABASE :"database" RENAME TO :"renamed";

-- name: named
SELECT datname::text FROM pg_database WHERE datname ^@ $1 ORDER BY 1

-- name: lively
-- A text for each database that differs once somebody has written there. The counters of a session that goes on arrive
-- up to ten seconds late, so what it did last counts as well, unless it is one of ours. Both are the whole server's.
SELECT stat.datname::text, format('%s %s', stat.tup_inserted, max(session.state_change))
FROM pg_stat_database AS stat LEFT JOIN pg_stat_activity AS session
     ON session.datid = stat.datid AND session.backend_type = 'client backend'
    AND session.application_name NOT LIKE 'insula %'
WHERE stat.datname ^@ $1
GROUP BY stat.datname, stat.tup_inserted
