-- Makes a tenant's schema and its two logins. `:"name"` is filled with a quoted identifier and
-- `:'name'` with a quoted literal, because DDL takes no parameters; `tenant.` is the schema.

-- name: begin
-- Whoever provisions the same tenant waits here, for a row and not for an advisory lock, which a tenant's login
-- could take as well; nobody waits for ever.
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
INSERT INTO insula.lock (name) VALUES ('tenant ' || :'tenant') ON CONFLICT DO NOTHING;
SELECT FROM insula.lock WHERE name = 'tenant ' || :'tenant' FOR UPDATE;
SET LOCAL lock_timeout = :'lock_timeout';

-- name: look_at_schema
-- A schema without our ledger is somebody else's, unless nothing is in it. The catalog is read
-- with a query and not with to_regclass, which may answer from before the wait for the lock.
SELECT
    EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS exists,
    coalesce(bool_or(relname = 'wf_migration'), false) AS ours,
    count(*) > 0 AS occupied
FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)

-- name: look_at_roles
-- `powerful`: it may do, or become, what no tenant's login may.
SELECT
    rolname AS name,
    shobj_description(oid, 'pg_authid') AS mark,
    rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        OR EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid) AS powerful
FROM pg_roles
WHERE rolname = ANY ($1::text[])

-- name: create_role
CREATE ROLE :"role" LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
COMMENT ON ROLE :"role" IS :'mark';

-- name: set_up_engine_role
-- A role may change its own settings and password; this puts back what belongs there.
ALTER ROLE :"role" LOGIN NOINHERIT CONNECTION LIMIT 4 PASSWORD :'verifier';
ALTER ROLE :"role" RESET ALL;
ALTER ROLE :"role" IN DATABASE :"database" RESET ALL;
ALTER ROLE :"role" SET search_path = :"schema", pg_temp;
ALTER ROLE :"role" SET lock_timeout = '5s';
ALTER ROLE :"role" SET statement_timeout = '60s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '60s';

-- name: set_up_app_role
ALTER ROLE :"role" LOGIN NOINHERIT CONNECTION LIMIT :connections PASSWORD :'verifier';
ALTER ROLE :"role" RESET ALL;
ALTER ROLE :"role" IN DATABASE :"database" RESET ALL;
ALTER ROLE :"role" SET search_path = :"schema", pg_temp;
ALTER ROLE :"role" SET lock_timeout = '60s';
ALTER ROLE :"role" SET statement_timeout = '5min';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '60s';

-- name: may_connect
SELECT has_database_privilege($1, current_database(), 'CONNECT')
   AND has_database_privilege($2, current_database(), 'CONNECT')

-- name: grant_connect
-- Only where PUBLIC may not connect. All grants on a database write one row: one at a time.
INSERT INTO insula.lock (name) VALUES ('database rights') ON CONFLICT DO NOTHING;
SELECT FROM insula.lock WHERE name = 'database rights' FOR UPDATE;
GRANT CONNECT ON DATABASE :"database" TO :"engine", :"app";

-- name: create_schema
CREATE SCHEMA :"schema";

-- name: grant_schema
REVOKE ALL ON SCHEMA :"schema" FROM PUBLIC;
GRANT USAGE ON SCHEMA :"schema" TO :"engine", :"app";

-- name: grant_engine
-- A list, not ALL TABLES: the engine's login has no right on the application's tables, and the
-- application's has none here. The share lock on the fence needs UPDATE.
REVOKE ALL ON tenant.wf_fence, tenant.wf_run, tenant.wf_event, tenant.wf_signal, tenant.wf_pause,
              tenant.wf_schedule, tenant.wf_fire, tenant.wf_migration, tenant.wf_key, tenant.wf_secret,
              tenant.wf_cache, tenant.wf_usage, tenant.wf_quota
    FROM PUBLIC, :"engine", :"app";
GRANT SELECT, UPDATE ON tenant.wf_fence, tenant.wf_quota TO :"engine";
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant.wf_run, tenant.wf_event, tenant.wf_signal,
                                        tenant.wf_pause, tenant.wf_schedule, tenant.wf_fire,
                                        tenant.wf_usage
    TO :"engine";
-- The cache is the application's; the supervisor deletes what is over in it.
GRANT SELECT, INSERT, UPDATE, DELETE ON tenant.wf_cache TO :"app";
GRANT SELECT, UPDATE, DELETE ON tenant.wf_cache TO :"engine";
GRANT SELECT ON tenant.wf_migration, tenant.wf_key, tenant.wf_secret TO :"engine";
REVOKE ALL ON FUNCTION tenant.wf_owned, tenant.wf_complete, tenant.wf_completed,
                       tenant.wf_admit, tenant.wf_spare, tenant.wf_wait FROM PUBLIC, :"engine", :"app";
GRANT EXECUTE ON FUNCTION tenant.wf_admit, tenant.wf_spare, tenant.wf_wait TO :"engine";
GRANT EXECUTE ON FUNCTION tenant.wf_owned, tenant.wf_complete, tenant.wf_completed TO :"app";

-- name: ledger
SELECT number, name, checksum FROM tenant.wf_migration WHERE ledger = $1 ORDER BY number

-- name: record
INSERT INTO tenant.wf_migration (ledger, number, name, checksum) VALUES ($1, $2, $3, $4)

-- name: begin_application
-- What a migration of the application makes is the application's to use, and nothing else is:
-- the default rights stand only as long as its transaction.
SET LOCAL statement_timeout TO DEFAULT;
SET LOCAL search_path = :"schema", pg_temp;
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema"
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT USAGE, SELECT ON SEQUENCES TO :"app";
SAVEPOINT insula_file;

-- name: end_application
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema"
    REVOKE SELECT, INSERT, UPDATE, DELETE ON TABLES FROM :"app";
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" REVOKE USAGE, SELECT ON SEQUENCES FROM :"app";

-- name: check_constraints
SET CONSTRAINTS ALL IMMEDIATE
