-- What has been applied to many tenants.

-- name: schemas
-- Those with a ledger of ours, by name.
SELECT nspname::text
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'wf_migration' AND relkind = 'r' AND nspname = ANY ($1::text[])
ORDER BY nspname

-- name: ledger
-- One schema's. As JSON, because a schema of an earlier version lacks the columns of what runs outside a transaction.
SELECT
    :'schema' AS schema, ledger, number, name, checksum, applied_at,
    (to_jsonb(m) ->> 'line')::int AS line,
    EXISTS (
        SELECT FROM pg_stat_activity
        WHERE pid = (to_jsonb(m) ->> 'backend')::int
          AND backend_start = (to_jsonb(m) ->> 'backend_start')::timestamptz
    ) AS alive
FROM tenant.wf_migration AS m
