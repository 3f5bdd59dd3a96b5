-- The server and its sessions. Nothing is changed.

-- name: settings
-- Those of the database and the role are in here, as a session has them.
SELECT name, setting FROM pg_settings

-- name: database
SELECT
    current_user::text AS login,
    current_database()::text AS database,
    role.rolsuper AS superuser,
    role.rolcreaterole AS createrole,
    has_database_privilege(current_database(), 'CREATE') AS create,
    pg_is_in_recovery() AS in_recovery,
    coalesce((
        SELECT bool_or(grantee = 0 AND privilege_type = 'CREATE')
        FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public'
    ), false) AS public_create,
    age(d.datfrozenxid) AS age
FROM pg_roles AS role, pg_database AS d
WHERE role.rolname = current_user AND d.datname = current_database()

-- name: sessions
SELECT pid, usename::text, application_name, state, xact_start AT TIME ZONE 'UTC' AS xact_start
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND (
      (state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - $1::interval)
      OR xact_start < clock_timestamp() - $2::interval
  )
ORDER BY xact_start

-- name: prepared
SELECT gid, quote_literal(gid) AS quoted, owner::text, prepared AT TIME ZONE 'UTC' AS prepared
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY prepared

-- name: slots
SELECT slot_name::text, quote_literal(slot_name) AS quoted FROM pg_replication_slots
WHERE NOT active AND NOT temporary AND wal_status IS NOT NULL
ORDER BY slot_name
