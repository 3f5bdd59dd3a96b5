-- insula.submit obeys the limits of its tenant.

-- What it has to obey, as JSON by the names of the limits; null when that is nothing. A change of the configuration
-- writes it together with the declaration, its tier's defaults merged in.
ALTER TABLE insula.tenant ADD COLUMN limits jsonb;

-- How many runs of a tenant with limits the transaction has added that were not counted yet.
ALTER TABLE insula.submission ADD COLUMN runs bigint NOT NULL DEFAULT 0;

-- Refuse with what says why: `refused` has the limit, its value, after how many seconds to try again, and perhaps a
-- sentence.
CREATE FUNCTION insula.refuse_by_quota(tenant text, refused jsonb) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'IN429',
        MESSAGE = coalesce(refused ->> 'sentence', format('tenant %L is limited to %s = %s', refuse_by_quota.tenant,
                                                          refused ->> 'limit', refused ->> 'allowed')),
        DETAIL = jsonb_build_object('code', 'quota_exceeded', 'tenant', refuse_by_quota.tenant,
                                    'limit', refused -> 'limit', 'allowed', refused -> 'allowed',
                                    'retry_after', refused -> 'retry_after'),
        HINT = CASE WHEN (refused ->> 'retry_after')::float > 0 THEN format('try again in %s s', refused ->> 'retry_after')
               ELSE format('raise limits.%s', refused ->> 'limit') END;
END
$$;

-- Refuse a run that is of too many bytes, or in a queue that the tenant may not use.
CREATE FUNCTION insula.check_run(tenant text, limits jsonb, queue text, bytes bigint) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF bytes > (limits ->> 'max_payload_bytes')::bigint THEN
        PERFORM insula.refuse_by_quota(check_run.tenant, jsonb_build_object(
            'limit', 'max_payload_bytes', 'allowed', limits -> 'max_payload_bytes', 'retry_after', 0,
            'sentence', format('the input has %s bytes; tenant %L may send %s', bytes, check_run.tenant,
                               limits ->> 'max_payload_bytes')));
    ELSIF limits ? 'allowed_queues' AND NOT limits -> 'allowed_queues' ? queue THEN
        PERFORM insula.refuse_by_quota(check_run.tenant, jsonb_build_object(
            'limit', 'allowed_queues', 'allowed', limits -> 'allowed_queues', 'retry_after', 0,
            'sentence', format('tenant %L may not use queue %L; allowed: %s', check_run.tenant, queue,
                               (SELECT string_agg(each, ', ') FROM jsonb_array_elements_text(limits -> 'allowed_queues')
                                AS each))));
    END IF;
END
$$;

-- Refuse when `runs` that the transaction has added do not fit beside what others have committed. Only when it is
-- `final` are they counted, and others wait until the transaction is over. A schema that was not brought up to date yet
-- does not count.
CREATE FUNCTION insula.check_count(tenant text, target text, limits jsonb, runs bigint, final boolean) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    refused jsonb;
BEGIN
    IF to_regclass(format('%I.wf_quota', target)) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT refused FROM %I.wf_admit($1, $2, ARRAY[clock_timestamp()], $3, true, $4)', target)
    INTO refused USING check_count.tenant, limits, runs, final;
    IF refused IS NOT NULL THEN
        PERFORM insula.refuse_by_quota(check_count.tenant, refused);
    END IF;
END
$$;

-- Deferred to COMMIT, so that what others wait for is held no longer than a commit takes, however long the transaction
-- was open before.
CREATE FUNCTION insula.count_at_commit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    many bigint;
    known insula.tenant;
BEGIN
    SELECT sum(s.runs) INTO many FROM insula.submission AS s WHERE s.tenant = NEW.tenant AND s.submitter = NEW.submitter;
    IF many > 0 THEN
        UPDATE insula.submission AS s SET runs = 0
        WHERE s.tenant = NEW.tenant AND s.submitter = NEW.submitter AND s.runs > 0;
        SELECT * INTO known FROM insula.tenant AS t WHERE t.id = NEW.tenant;
        IF known.limits IS NOT NULL THEN
            PERFORM insula.check_count(known.id, known.schema_name, known.limits, many, true);
        END IF;
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER count_at_commit AFTER INSERT OR UPDATE OF runs ON insula.submission
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.runs > 0) EXECUTE FUNCTION insula.count_at_commit();

-- What the calling transaction has submitted of a tenant with limits and not counted yet.
CREATE FUNCTION insula.uncounted(tenant text) RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(s.runs), 0)::bigint FROM insula.submission AS s
    WHERE s.tenant = uncounted.tenant AND s.submitter = pg_current_xact_id()
$$;

-- When a run may begin that comes after those of `rate` that are ahead of it: `place`, from 1 on, is its own among those
-- of the transaction. Null when it may now.
CREATE FUNCTION insula.allowed_at(target text, limits jsonb, place bigint, present timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rate bigint := limits ->> 'rate';
    burst bigint := coalesce((limits ->> 'rate_burst')::bigint, rate);
    allowed timestamptz;
BEGIN
    IF to_regclass(format('%I.wf_quota', target)) IS NOT NULL THEN
        EXECUTE format('SELECT greatest(full_at, $1) FROM %I.wf_quota', target) INTO allowed USING present;
        allowed := allowed + interval '1 minute' / rate * (place - burst);
    END IF;
    RETURN CASE WHEN allowed > present THEN allowed END;
END
$$;

-- As in 0015, and now within the limits of the tenant. A key that is known gives its run, whatever the limits are.
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
    limits jsonb := (SELECT t.limits FROM insula.tenant AS t WHERE t.id = submit.tenant);
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
    IF limits ->> 'rate_over' = 'delay' AND limits ? 'rate' THEN
        due := greatest(due, insula.allowed_at(target, limits, insula.uncounted(submit.tenant) + 1, present));
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
    IF limits IS NOT NULL THEN
        PERFORM insula.check_run(submit.tenant, limits, submit.queue, octet_length(submit.input::text));
    END IF;
    IF limits ?| ARRAY['max_queue_length', 'max_runs_per_hour', 'max_runs_per_day', 'rate'] THEN
        PERFORM insula.check_count(submit.tenant, target, limits, insula.uncounted(submit.tenant) + 1, false);
        INSERT INTO insula.submission AS own (tenant, due_at, reason, runs)
        SELECT submit.tenant, coalesce(min(s.due_at), due, present), 'submit', 1
        FROM insula.submission AS s
        WHERE s.tenant = submit.tenant AND s.submitter = pg_current_xact_id() AND s.due_at <= coalesce(due, present)
        ON CONFLICT (tenant, submitter, due_at) DO UPDATE SET runs = own.runs + 1;
        RETURN run;
    END IF;
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

REVOKE ALL ON FUNCTION insula.refuse_by_quota, insula.check_run, insula.check_count, insula.count_at_commit,
    insula.uncounted, insula.allowed_at FROM PUBLIC;
