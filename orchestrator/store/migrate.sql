-- The ledger of the control schema.

-- name: lock
-- Nodes that start together migrate one after the other.
SELECT pg_advisory_xact_lock(hashtextextended('insula control schema', 0))

-- name: has_ledger
SELECT to_regclass('insula.migration') IS NOT NULL

-- name: ledger
SELECT number, name, checksum FROM insula.migration ORDER BY number

-- name: record
INSERT INTO insula.migration (number, name, checksum) VALUES ($1, $2, $3)
