-- A run begins in the years 1970 to 8999, as over HTTP: a time before would be read back without its time zone, or not
-- at all, by everyone who serves the tenant. The other reasons are those of 0005.
CREATE OR REPLACE FUNCTION insula.problems_of_run(
    workflow text, input jsonb, key text, queue text, priority int, version text, at timestamptz, tags text[]
) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(problem.sentence, '; ')
    FROM (
        VALUES
        (workflow IS NULL OR length(workflow) NOT BETWEEN 1 AND 100, '$.workflow: has 1 to 100 characters'),
        (input IS NULL OR jsonb_typeof(input) <> 'object', '$.input: is a JSON object'),
        (octet_length(input::text) > 16777216, '$.input: has at most 16 MiB'),
        (length(key) NOT BETWEEN 1 AND 255, '$.key: has 1 to 255 characters'),
        (queue IS NULL OR length(queue) NOT BETWEEN 1 AND 255, '$.queue: has 1 to 255 characters'),
        (priority IS NULL OR priority NOT BETWEEN 0 AND 9, format('$.priority: is from 0 to 9, got %s', priority)),
        (length(version) NOT BETWEEN 1 AND 100, '$.version: has 1 to 100 characters'),
        (at < '1970-01-01 UTC' OR at >= '9000-01-01 UTC', '$.at: is in a year from 1970 to 8999'),
        (tags IS NULL OR array_ndims(tags) > 1 OR array_position(tags, NULL) IS NOT NULL, '$.tags: is a list of texts')
        UNION ALL
        SELECT DISTINCT line.text ~ '[\u0001-\u001f\u007f-\u009f]', format('$.%s: has a control character', line.name)
        FROM (VALUES ('workflow', workflow), ('key', key), ('queue', queue), ('version', version)
              UNION ALL SELECT 'tags', unnest(tags)) AS line (name, text)
    ) AS problem (holds, sentence)
    WHERE problem.holds
$$;
