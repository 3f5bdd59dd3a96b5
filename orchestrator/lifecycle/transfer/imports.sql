-- Adds rows to the application's tables of a tenant.

-- name: stage
-- Lines of JSON as they are: no JSON has these characters, so none of them means anything to COPY.
CREATE TEMPORARY TABLE import_line (number bigint GENERATED ALWAYS AS IDENTITY, content text) ON COMMIT DROP;

-- name: unstage
TRUNCATE pg_temp.import_line RESTART IDENTITY

-- name: staged
SELECT count(*) FROM pg_temp.import_line

-- name: counters
-- The sequences behind the columns of a table.
SELECT attname::text, pg_get_serial_sequence(format('%I.%I', $1::text, $2::text), attname)
FROM pg_attribute
WHERE attrelid = format('%I.%I', $1::text, $2::text)::regclass AND attnum > 0 AND NOT attisdropped
  AND pg_get_serial_sequence(format('%I.%I', $1::text, $2::text), attname) IS NOT NULL
