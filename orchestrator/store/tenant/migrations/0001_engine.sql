-- The engine's tables of one tenant. `tenant.` stands for the tenant's own schema.
-- Few relations on purpose: each one costs catalog space and memory in every backend that touches it.

-- The epoch that may write. Every write of a supervisor locks this row FOR SHARE in the same statement,
-- so a takeover waits for a write under way and an older owner's write matches no row. `seal` is a secret that
-- each owner makes up: the application's login can not read it, so SQL in a task can complete no task.
CREATE TABLE tenant.wf_fence (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL,
    seal uuid
);
INSERT INTO tenant.wf_fence (epoch) VALUES (0);

-- One row a run: what it was asked to do and how it ended. `epoch` is the owner that holds it in memory,
-- 0 when nobody does. `rank` orders the queue: the time of arrival in milliseconds, earlier by a fixed span
-- for each step of priority, so that urgent runs go first and no run waits for ever. `due_at` is when a
-- delayed or resting run is to be looked at. `discarded_at` is when somebody gave a failed run up: it is no
-- dead letter any more, unless it was retried since and has failed again. JSON is stored as text (json, not jsonb): written often, read
-- rarely.
CREATE TABLE tenant.wf_run (
    id uuid PRIMARY KEY,
    workflow text NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    queue text NOT NULL,
    priority smallint NOT NULL CHECK (priority BETWEEN 0 AND 9),
    rank bigint NOT NULL DEFAULT extract(epoch FROM clock_timestamp()) * 1000,
    epoch bigint NOT NULL,
    key text,
    parent_id uuid,
    tags text[] NOT NULL DEFAULT '{}',
    input json NOT NULL,
    output json,
    context json,
    error json,
    due_at timestamptz,
    deadline_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    discarded_at timestamptz
);
CREATE UNIQUE INDEX wf_run_by_key ON tenant.wf_run (workflow, key) WHERE key IS NOT NULL;
-- The next three find what an owner takes up, by kind (workflow and version), so that a long backlog of a kind
-- that is paused or not served is never read: what waits for its turn, for a time, and what somebody held.
CREATE INDEX wf_run_queued ON tenant.wf_run (workflow, version, rank)
    WHERE finished_at IS NULL AND state = 'queued' AND due_at IS NULL;
CREATE INDEX wf_run_due ON tenant.wf_run (workflow, version, due_at)
    WHERE finished_at IS NULL AND state IN ('queued', 'waiting') AND due_at IS NOT NULL;
CREATE INDEX wf_run_held ON tenant.wf_run (state, workflow, version, epoch)
    WHERE finished_at IS NULL AND (state = 'running' OR state = 'blocked' AND error->>'type' <> 'NonDeterminism');
CREATE INDEX wf_run_scheduled ON tenant.wf_run (key) WHERE finished_at IS NULL AND starts_with(key, 'schedule:');
CREATE INDEX wf_run_dead ON tenant.wf_run (id)
    WHERE state IN ('failed', 'dead') AND (discarded_at IS NULL OR discarded_at < finished_at);
CREATE INDEX wf_run_children ON tenant.wf_run (parent_id)
    WHERE finished_at IS NULL AND parent_id IS NOT NULL;

-- Messages to runs, until they are taken: the journal entry that takes one and its deletion are one commit.
-- One with a key stays as `taken_at`, empty, so that the same message sent again is known.
CREATE TABLE tenant.wf_signal (
    run_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    key text,
    payload json NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at timestamptz,
    PRIMARY KEY (run_id, id)
);
CREATE UNIQUE INDEX wf_signal_by_key ON tenant.wf_signal (run_id, key) WHERE key IS NOT NULL;

-- Workflows that start nothing for now; the name '' stands for all of them.
CREATE TABLE tenant.wf_pause (
    workflow text PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The schedules that were declared when the tenant was awake last; `spec` is for people. All fires up to
-- `last_fire_at` are dealt with.
CREATE TABLE tenant.wf_schedule (
    name text PRIMARY KEY,
    spec json NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    last_fire_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What became of each fire, by its nominal time. One row each, so that none is doubled, in the same commit as
-- its run and the schedule's `last_fire_at`, so that none is lost. A held one waits for an earlier run.
CREATE TABLE tenant.wf_fire (
    schedule text NOT NULL,
    fire_at timestamptz NOT NULL,
    run_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('started', 'held', 'skipped', 'missed', 'refused')),
    reason text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (schedule, fire_at)
);
CREATE INDEX wf_fire_held ON tenant.wf_fire (schedule) WHERE outcome = 'held';

-- The journal, and at the same time the run's event log: insert-only, never updated. A row holds what
-- happened to one run in one flush; `seq` numbers its first entry, so a run's entries have no gaps.
CREATE TABLE tenant.wf_event (
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    epoch bigint NOT NULL,
    node text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entries json NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- What has been applied to this schema: the engine's own files and the application's.
CREATE TABLE tenant.wf_migration (
    ledger text NOT NULL CHECK (ledger IN ('engine', 'app')),
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ledger, number)
);

-- What the transactions of tasks ask of the fence, which their login can not read: refuses unless `epoch` is
-- the owner's. Asked at the start, so that a task of a former owner begins nothing, and again together with
-- COMMIT: only then is the row locked, and only when something was written. A takeover waits no longer than
-- that commit takes, however long the transaction was, and what was not committed by then is refused.
CREATE FUNCTION tenant.wf_owned(epoch bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_current_xact_id_if_assigned() IS NULL THEN
        PERFORM FROM tenant.wf_fence AS fence WHERE fence.epoch = wf_owned.epoch;
    ELSE
        PERFORM FROM tenant.wf_fence AS fence WHERE fence.epoch = wf_owned.epoch FOR SHARE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'IN409', MESSAGE = 'another owner has taken the tenant';
    END IF;
END
$$;

-- Write that a task is done into the journal, in the task's own transaction: its COMMIT commits both. `mark` is
-- what the transaction was begun with; it is gone when SQL of the task has ended that transaction.
CREATE FUNCTION tenant.wf_complete(
    epoch bigint, seal uuid, node text, mark text, run uuid, seq int, entries json
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
END
$$;

-- After a COMMIT whose answer was lost: did it write the entry? A transaction that still may is waited for,
-- as an entry of the same number is added, and taken away again.
CREATE FUNCTION tenant.wf_completed(epoch bigint, seal uuid, run uuid, seq int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM tenant.wf_fence AS fence
    WHERE fence.epoch = wf_completed.epoch AND fence.seal = wf_completed.seal;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'IN409', MESSAGE = 'another owner has taken the tenant';
    END IF;
    INSERT INTO tenant.wf_event (run_id, seq, epoch, node, entries)
    VALUES (wf_completed.run, wf_completed.seq, wf_completed.epoch, '', '[]');
    RAISE EXCEPTION USING ERRCODE = 'IN404';
EXCEPTION
    WHEN SQLSTATE 'IN404' THEN RETURN false;
    WHEN unique_violation THEN RETURN true;
END
$$;
