-- name: lock_key
-- Of two nodes that start at once one comes second, and sees what the first has written.
SELECT key FROM insula.installation FOR UPDATE

-- name: set_key
UPDATE insula.installation SET key = $1

-- name: living
-- Nodes beside the one of this name, those that drain as well.
SELECT DISTINCT name FROM insula.node WHERE name <> $1 AND expires_at > clock_timestamp() ORDER BY name

-- name: bury_expired
-- One that was silent for long does not come back with the key of before.
UPDATE insula.node SET expires_at = '-infinity' WHERE name <> $1 AND expires_at <= clock_timestamp()
