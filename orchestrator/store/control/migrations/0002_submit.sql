-- Starting a run with SQL, in the caller's own transaction: insula.submit.

-- Wake rows that come from outside are added and never updated: `insula.wake` has one row a tenant, and a
-- caller's open transaction would hold it against the daemon and against every other caller. Being a
-- child, this table is read and emptied together with `insula.wake`; only the upsert of one row a tenant
-- passes it by. A transaction leaves one row for each tenant, however many runs it submits.
CREATE TABLE insula.submission (
    submitter xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (tenant, submitter, due_at)
) INHERITS (insula.wake);
CREATE INDEX submission_by_due ON insula.submission (due_at);

-- The schema of a tenant that takes runs from this caller, else an error. The login of a tenant may name
-- that tenant alone, whatever has been granted to it, and learns nothing about others. `session_user` is
-- who logged in; within SECURITY DEFINER, `current_user` is the owner.
CREATE FUNCTION insula.schema_to_submit_to(tenant text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known insula.tenant;
BEGIN
    SELECT * INTO known FROM insula.tenant AS t WHERE t.id = schema_to_submit_to.tenant;
    IF EXISTS (SELECT FROM pg_roles AS r
               WHERE r.rolname = session_user AND shobj_description(r.oid, 'pg_authid') LIKE 'insula:%')
       AND NOT EXISTS (SELECT FROM pg_namespace AS n
                       WHERE n.nspname = known.schema_name
                         AND has_schema_privilege(session_user, n.oid, 'USAGE'))
    THEN
        RAISE EXCEPTION USING ERRCODE = 'IN403',
            MESSAGE = format('the login %I may not start runs of tenant %L', session_user,
                             left(schema_to_submit_to.tenant, 100)),
            HINT = 'a tenant''s login starts runs of its own tenant only';
    ELSIF known.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN404',
            MESSAGE = format('no tenant %L is declared or registered', left(schema_to_submit_to.tenant, 100)),
            HINT = 'insula.submit takes the id of a tenant, not an alias; see `insula tenant list`';
    ELSIF known.state = 'removed' THEN
        RAISE EXCEPTION USING ERRCODE = 'IN410',
            MESSAGE = format('tenant %L was taken out of the configuration', known.id),
            HINT = 'declare it again';
    ELSIF known.declaration ->> 'enabled' = 'false' THEN
        RAISE EXCEPTION USING ERRCODE = 'IN423',
            MESSAGE = format('tenant %L is disabled', known.id),
            HINT = 'set enabled = true in its file and reload';
    ELSIF known.state <> 'provisioned' THEN
        RAISE EXCEPTION USING ERRCODE = 'IN503',
            MESSAGE = format('tenant %L has no tables yet', known.id),
            HINT = 'it gets them when it is provisioned, at the latest with the first run that the daemon starts';
    END IF;
    RETURN known.schema_name;
END
$$;

-- Every reason why a run of such fields can not be stored.
CREATE FUNCTION insula.problems_of_run(
    workflow text, input jsonb, key text, queue text, priority int, version text, at timestamptz, tags text[]
) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(problem.sentence, '; ')
    FROM (VALUES
        (workflow IS NULL OR length(workflow) NOT BETWEEN 1 AND 100, '$.workflow: has 1 to 100 characters'),
        (input IS NULL OR jsonb_typeof(input) <> 'object', '$.input: is a JSON object'),
        (octet_length(input::text) > 16777216, '$.input: has at most 16 MiB'),
        (length(key) NOT BETWEEN 1 AND 255, '$.key: has 1 to 255 characters'),
        (queue IS NULL OR length(queue) NOT BETWEEN 1 AND 255, '$.queue: has 1 to 255 characters'),
        (priority IS NULL OR priority NOT BETWEEN 0 AND 9, format('$.priority: is from 0 to 9, got %s', priority)),
        (length(version) NOT BETWEEN 1 AND 100, '$.version: has 1 to 100 characters'),
        (at >= '9000-01-01', '$.at: is before the year 9000'),
        (tags IS NULL OR array_ndims(tags) > 1 OR array_position(tags, NULL) IS NOT NULL, '$.tags: is a list of texts')
    ) AS problem (holds, sentence)
    WHERE problem.holds
$$;

-- Start a run of `tenant` with the caller's transaction: it is there when that commits, and never was when
-- that rolls back. Returns the run's id; the id that is there already when `workflow` and `key` are known.
-- Without `version`, whoever takes the run takes the latest that it serves. A time `at` in the past is now.
-- The rank is that of orchestrator/engine/intake.py: a step of priority is worth a minute of waiting.
CREATE FUNCTION insula.submit(
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
COMMENT ON FUNCTION insula.submit IS 'starts a run of a tenant within the transaction of the caller';

-- GRANT USAGE ON SCHEMA insula and EXECUTE ON FUNCTION insula.submit to the application's role.
REVOKE ALL ON FUNCTION insula.submit, insula.schema_to_submit_to, insula.problems_of_run FROM PUBLIC;
