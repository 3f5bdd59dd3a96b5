-- What tenants have used, as their owners have told it: all that one ledger, a life of a tenant's schema, counts in one
-- hour of UTC, told again as the hour grows, so that nothing counts twice. It stays when the tenant is deleted. Old hours
-- are made days: `hours` has a bit for each hour that a day sums up, and those are not told any more.
CREATE TABLE insula.usage (
    ledger uuid,
    span text CHECK (span IN ('hour', 'day')),
    starts_at timestamptz,
    tenant text NOT NULL,
    hours integer NOT NULL DEFAULT 0,
    submitted bigint NOT NULL,
    input_bytes bigint NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    dead bigint NOT NULL,
    cancelled bigint NOT NULL,
    attempts bigint NOT NULL,
    task_ms bigint NOT NULL,
    PRIMARY KEY (ledger, span, starts_at)
);
CREATE INDEX usage_by_tenant ON insula.usage (tenant, starts_at);
CREATE INDEX usage_by_hour ON insula.usage (starts_at) WHERE span = 'hour';

-- Which tenant came near to which of its limits, once in each window: the first to note it tells of it.
CREATE TABLE insula.alert (
    tenant text,
    quota text,
    since timestamptz,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    used bigint NOT NULL,
    allowed bigint NOT NULL,
    PRIMARY KEY (tenant, quota, since)
);

-- Count runs that were added to the tenant of the schema `target` past its owner: in a row of its own, so that an open
-- transaction is in nobody's way. A schema that was not brought up to date yet does not count.
CREATE FUNCTION insula.count_submitted(target text, runs bigint, bytes bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regclass(format('%I.wf_usage', target)) IS NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('INSERT INTO %I.wf_usage (submitted, input_bytes) VALUES ($1, $2)', target) USING runs, bytes;
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION insula.count_submitted FROM PUBLIC;

-- As in 0002, and now it counts.
CREATE OR REPLACE FUNCTION insula.submit(
    tenant text,
    workflow text,
    input jsonb DEFAULT '{}',
    key text DEFAULT NULL,
    queue text DEFAULT 'default',
    priority int DEFAULT 0,
    version text DEFAULT NULL,
    at timestamptz DEFAULT NULL,
    tags text[] DEFAULT '{}'
) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    target text := insula.schema_to_submit_to(submit.tenant);
    problems text := insula.problems_of_run(
        submit.workflow, submit.input, submit.key, submit.queue, submit.priority, submit.version,
        submit.at, submit.tags);
    present timestamptz := clock_timestamp();
    due timestamptz := CASE WHEN submit.at > present THEN submit.at END;
    milliseconds bigint := floor(extract(epoch FROM present) * 1000);
    -- UUID version 7: the time in its first six bytes, and 0111 for the 0100 of a random one.
    fresh uuid := encode(set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send(milliseconds) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex');
    run uuid;
BEGIN
    IF problems IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN422', MESSAGE = problems, HINT = 'nothing was stored';
    END IF;
    LOOP
        EXECUTE format(
            'INSERT INTO %I.wf_run (id, workflow, version, state, queue, priority, rank, epoch, key, tags, input, due_at)
             VALUES ($1, $2, $3, ''queued'', $4, $5, $6, 0, $7, $8, $9, $10)
             ON CONFLICT (workflow, key) WHERE key IS NOT NULL DO NOTHING RETURNING id', target)
        INTO run
        USING fresh, submit.workflow, coalesce(submit.version, ''), submit.queue, submit.priority,
              milliseconds - submit.priority * 60000, submit.key, submit.tags, submit.input, due;
        EXIT WHEN run IS NOT NULL;
        EXECUTE format('SELECT id FROM %I.wf_run WHERE workflow = $1 AND key = $2', target)
        INTO run USING submit.workflow, submit.key;
        IF run IS NOT NULL THEN
            RETURN run;
        END IF;
        -- The run that had the key was deleted in between: once more.
    END LOOP;
    PERFORM insula.count_submitted(target, 1, octet_length(submit.input::text));
    INSERT INTO insula.submission (tenant, due_at, reason)
    SELECT submit.tenant, coalesce(due, present), 'submit'
    WHERE NOT EXISTS (
        SELECT FROM insula.submission AS s
        WHERE s.tenant = submit.tenant AND s.submitter = pg_current_xact_id()
          AND s.due_at <= coalesce(due, present))
    ON CONFLICT DO NOTHING;
    RETURN run;
END
$$;
