-- The one row that whoever adds runs under a limit locks at the end of its transaction, so that of two that count at the
-- same time the second sees what the first has added. `full_at` is when all of `rate` is back. What was counted is kept
-- with it: so many more runs than were there at that time fit into the last hour or day, whatever else happens, as
-- runs only leave it. Written anew each time, also so that a transaction under REPEATABLE READ, which would count by
-- an old snapshot, fails to serialize.
CREATE TABLE tenant.wf_quota (
    full_at timestamptz NOT NULL DEFAULT '-infinity',
    hour_allowed bigint,
    hour_spare bigint,
    hour_counted_at timestamptz,
    day_allowed bigint,
    day_spare bigint,
    day_counted_at timestamptz
);
INSERT INTO tenant.wf_quota DEFAULT VALUES;

-- How many more runs than there are may be accepted within the `span` up to `present`; below 0 there are too many.
-- Reads no more entries of the primary key than are allowed: ids begin with the time in milliseconds.
CREATE FUNCTION tenant.wf_spare(span interval, allowed bigint, present timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
DECLARE
    since uuid := lpad(to_hex(floor(extract(epoch FROM present - span) * 1000)::bigint), 12, '0') || repeat('0', 20);
BEGIN
    RETURN allowed - count(*) FROM (
        SELECT FROM tenant.wf_run AS run WHERE run.id >= since ORDER BY run.id DESC LIMIT allowed + 1) AS lately;
END
$$;

-- In how many seconds `wanted` runs fit that are there and are one too many: when the one has left the `span` that has
-- `allowed` newer ones. 0 when they never do.
CREATE FUNCTION tenant.wf_wait(span interval, allowed bigint, wanted bigint, present timestamptz) RETURNS int
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
AS $$
DECLARE
    last uuid;
BEGIN
    IF wanted > allowed THEN
        RETURN 0;
    END IF;
    SELECT run.id INTO last FROM tenant.wf_run AS run ORDER BY run.id DESC OFFSET allowed LIMIT 1;
    RETURN greatest(1, ceil(extract(epoch FROM span - (present - to_timestamp(
        ('x' || left(replace(last::text, '-', ''), 12))::bit(48)::bigint / 1000.0)))));
END
$$;

-- Count runs that the calling transaction has added: `many` at each of `moments`, by the `limits` of the tenant `whom`.
-- `refused` tells why, unless they fit: the limit, its value, after how many seconds they do, and perhaps a sentence;
-- then the caller takes its transaction back, but for runs that are not `refusable`: those count all the same. With
-- `final` false nothing is locked or counted: it is only told whether they would fit now. They are `held` up, and
-- refused without having been counted, when another transaction has counted its own and does not end.
CREATE FUNCTION tenant.wf_admit(
    whom text, limits jsonb, moments timestamptz[], many bigint, refusable boolean, final boolean,
    OUT refused jsonb, OUT full_at timestamptz, OUT held boolean
)
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off SET enable_bitmapscan = off SET lock_timeout = '1s'
AS $$
#variable_conflict use_variable
DECLARE
    wanted bigint := cardinality(moments) * many;
    in_queue bigint := limits ->> 'max_queue_length';
    in_hour bigint := limits ->> 'max_runs_per_hour';
    in_day bigint := limits ->> 'max_runs_per_day';
    rate bigint := limits ->> 'rate';
    burst bigint := coalesce((limits ->> 'rate_burst')::bigint, rate);
    step interval := interval '1 minute' / rate;
    late interval := '0';
    state tenant.wf_quota;
    present timestamptz;
    moment timestamptz;
    waiting bigint;
BEGIN
    held := false;
    IF final THEN
        BEGIN
            SELECT q.* INTO state FROM tenant.wf_quota AS q FOR NO KEY UPDATE;
        EXCEPTION
            WHEN lock_not_available THEN
                held := true;
                refused := jsonb_build_object(
                    'limit', CASE WHEN in_hour IS NOT NULL THEN 'max_runs_per_hour'
                                  WHEN in_day IS NOT NULL THEN 'max_runs_per_day'
                                  WHEN rate IS NOT NULL THEN 'rate' ELSE 'max_queue_length' END,
                    'allowed', coalesce(in_hour, in_day, rate, in_queue), 'retry_after', 5,
                    'sentence', format('a transaction that does not end has counted runs of tenant %L', whom));
                RETURN;
        END;
    ELSE
        SELECT q.* INTO state FROM tenant.wf_quota AS q;
    END IF;
    present := clock_timestamp();
    IF in_queue IS NOT NULL THEN
        SELECT count(*) INTO waiting FROM (
            SELECT FROM tenant.wf_run AS run
            WHERE run.finished_at IS NULL AND run.state = 'queued' AND run.due_at IS NULL LIMIT in_queue + 1) AS found;
        IF waiting > in_queue THEN
            refused := jsonb_build_object('limit', 'max_queue_length', 'allowed', in_queue, 'retry_after', 5,
                'sentence', format('tenant %L may have %s runs waiting; %s more are too many', whom, in_queue, wanted));
        END IF;
    END IF;
    IF rate IS NOT NULL THEN
        FOREACH moment IN ARRAY moments LOOP
            state.full_at := greatest(state.full_at, moment) + step * many;
            late := greatest(late, state.full_at - step * burst - moment);
        END LOOP;
        -- The moments of runs are told in milliseconds.
        IF late > interval '2 milliseconds' AND limits ->> 'rate_over' IS DISTINCT FROM 'delay' THEN
            refused := jsonb_build_object('limit', 'rate', 'allowed', rate, 'retry_after',
                CASE WHEN many > burst THEN 0 ELSE ceil(extract(epoch FROM late)) END);
        END IF;
    END IF;
    IF in_hour IS NULL THEN
        state.hour_allowed := NULL;
    ELSIF state.hour_allowed = in_hour AND state.hour_spare >= wanted
          AND state.hour_counted_at > present - interval '1 minute' THEN
        state.hour_spare := state.hour_spare - wanted;
    ELSE
        state.hour_allowed := in_hour;
        state.hour_spare := tenant.wf_spare('1 hour', in_hour, present);
        state.hour_counted_at := present;
        IF state.hour_spare < 0 THEN
            refused := jsonb_build_object('limit', 'max_runs_per_hour', 'allowed', in_hour,
                'retry_after', tenant.wf_wait('1 hour', in_hour, wanted, present));
        END IF;
    END IF;
    IF in_day IS NULL THEN
        state.day_allowed := NULL;
    ELSIF state.day_allowed = in_day AND state.day_spare >= wanted
          AND state.day_counted_at > present - interval '1 minute' THEN
        state.day_spare := state.day_spare - wanted;
    ELSE
        state.day_allowed := in_day;
        state.day_spare := tenant.wf_spare('1 day', in_day, present);
        state.day_counted_at := present;
        IF state.day_spare < 0 THEN
            refused := jsonb_build_object('limit', 'max_runs_per_day', 'allowed', in_day,
                'retry_after', tenant.wf_wait('1 day', in_day, wanted, present));
        END IF;
    END IF;
    IF final AND (refused IS NULL OR NOT refusable) THEN
        UPDATE tenant.wf_quota SET
            full_at = state.full_at,
            hour_allowed = state.hour_allowed, hour_spare = state.hour_spare, hour_counted_at = state.hour_counted_at,
            day_allowed = state.day_allowed, day_spare = state.day_spare, day_counted_at = state.day_counted_at;
    END IF;
    full_at := CASE WHEN rate IS NOT NULL THEN state.full_at END;
END
$$;
