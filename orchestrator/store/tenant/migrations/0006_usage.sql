-- What the tenant has used, for its bill. Each row is added in the commit of what it counts, and never changed: no
-- writer waits for another, and a long snapshot slows none. `fold` makes one `total` of an hour's rows; until then the
-- hour's usage is the sum of all of them. `told` totals stand in the control schema as they are here. Hours are of UTC.
-- No index: even one that takes no row would cost more, in each commit, than the row does.
CREATE TABLE tenant.wf_usage (
    hour timestamptz NOT NULL DEFAULT date_trunc('hour', clock_timestamp(), 'UTC'),
    total boolean NOT NULL DEFAULT false,
    told boolean NOT NULL DEFAULT false,
    submitted bigint NOT NULL DEFAULT 0,
    input_bytes bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    task_ms bigint NOT NULL DEFAULT 0
);

-- Which life of the schema its counts are of: a copy of the tenant begins to count anew, under another ledger, and
-- nothing is billed twice.
ALTER TABLE tenant.wf_fence ADD COLUMN ledger uuid NOT NULL DEFAULT gen_random_uuid();

-- As in 0001, and now with the `milliseconds` that the attempt took, which count with its commit.
DROP FUNCTION tenant.wf_complete(bigint, uuid, text, text, uuid, int, json);
CREATE FUNCTION tenant.wf_complete(
    epoch bigint, seal uuid, node text, mark text, run uuid, seq int, entries json, milliseconds bigint
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM tenant.wf_fence AS fence
    WHERE fence.epoch = wf_complete.epoch AND fence.seal = wf_complete.seal FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'IN409', MESSAGE = 'another owner has taken the tenant';
    ELSIF current_setting('insula.mark', true) IS DISTINCT FROM mark THEN
        RAISE EXCEPTION USING ERRCODE = 'IN412',
            MESSAGE = 'the transaction of the task was ended by SQL of its own';
    END IF;
    INSERT INTO tenant.wf_event (run_id, seq, epoch, node, entries)
    VALUES (wf_complete.run, wf_complete.seq, wf_complete.epoch, wf_complete.node, wf_complete.entries);
    INSERT INTO tenant.wf_usage (attempts, task_ms) VALUES (1, wf_complete.milliseconds);
END
$$;
