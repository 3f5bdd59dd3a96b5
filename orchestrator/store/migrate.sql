-- The ledger of the control schema.

-- name: lock
-- Nodes that start together migrate one after the other.
SELECT pg_advisory_xact_lock(hashtextextended('insula control schema', 0))

-- name: has_ledger
-- Not to_regclass: within a transaction that has waited for the lock, it may still answer from
-- what this backend remembered before, and a query of the catalog does not.
SELECT EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'insula' AND relname = 'migration'
)

-- name: ledger
SELECT number, name, checksum FROM insula.migration ORDER BY number

-- name: record
INSERT INTO insula.migration (number, name, checksum) VALUES ($1, $2, $3)
