-- insula.submit takes nothing that the daemon could not read back: input nested deeper than Python follows, numbers of
-- more digits than it reads, tags without end. The other reasons are those of 0005. The search for a number looks at
-- every value, so that it is spared where no such number fits.
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
        (jsonb_path_exists(input, 'strict $.**{500}'), '$.input: is nested too deep, beyond 500 levels'),
        (CASE WHEN octet_length(input::text) > 4300 THEN jsonb_path_exists(
             input, 'strict $.** ? (@.type() == "number" && (@ >= 1e4300 || @ <= -1e4300))') END,
         '$.input: has a number of more than 4300 digits'),
        (length(key) NOT BETWEEN 1 AND 255, '$.key: has 1 to 255 characters'),
        (queue IS NULL OR length(queue) NOT BETWEEN 1 AND 255, '$.queue: has 1 to 255 characters'),
        (priority IS NULL OR priority NOT BETWEEN 0 AND 9, format('$.priority: is from 0 to 9, got %s', priority)),
        (length(version) NOT BETWEEN 1 AND 100, '$.version: has 1 to 100 characters'),
        (at >= '9000-01-01', '$.at: is before the year 9000'),
        (tags IS NULL OR array_ndims(tags) > 1 OR array_position(tags, NULL) IS NOT NULL, '$.tags: is a list of texts'),
        (cardinality(tags) > 1000, '$.tags: are at most 1000')
        UNION ALL
        SELECT DISTINCT length(tag) NOT BETWEEN 1 AND 255, '$.tags: have 1 to 255 characters each'
        FROM unnest(tags) AS tag
        UNION ALL
        SELECT DISTINCT line.text ~ '[\u0001-\u001f\u007f-\u009f]', format('$.%s: has a control character', line.name)
        FROM (VALUES ('workflow', workflow), ('key', key), ('queue', queue), ('version', version)
              UNION ALL SELECT 'tags', unnest(tags)) AS line (name, text)
    ) AS problem (holds, sentence)
    WHERE problem.holds
$$;
