-- The ledger of the control schema.

-- name: lock_ledger
-- Nodes that start together migrate one after the other.
LOCK TABLE insula.migration IN SHARE ROW EXCLUSIVE MODE

-- name: lock
-- The same before there is a ledger. Anybody can take this lock, but then there is no tenant yet.
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
