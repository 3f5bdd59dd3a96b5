-- Makes a whole tenant of an archive. `tenant.` is its schema.

-- name: begin
-- As in dump.sql. No function's body is looked at before all is there.
SET LOCAL search_path = '';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL check_function_bodies = off;
SET LOCAL xmloption = content;
SET LOCAL row_security = off;
SET LOCAL client_min_messages = warning;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;

-- name: fence
INSERT INTO tenant.wf_fence (epoch) VALUES (0)

-- name: let_go
-- The owners of before are not those of now.
UPDATE tenant.wf_run SET epoch = 0 WHERE finished_at IS NULL AND epoch <> 0

-- name: unfinished
SELECT count(*) FROM tenant.wf_run WHERE finished_at IS NULL

-- name: position
SELECT setval(format('%I.%I', $1::text, $2::text)::regclass, $3, $4)

-- name: own_names
-- Names that the archive has without a schema are the tenant's own.
SET LOCAL search_path = :"schema", pg_temp;
