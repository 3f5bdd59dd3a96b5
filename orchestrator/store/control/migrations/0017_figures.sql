-- Each tenant in figures as they were last read, which lists of tenants are made of. `due_at` says when to read them
-- again: null while the tenant sleeps and nothing can have changed. While they are `taken`, a node reads them, and at
-- `due_at` another may. What could not be read in time is null; `rows` are counted only when somebody asks.
CREATE TABLE insula.figures (
    tenant text PRIMARY KEY REFERENCES insula.tenant ON UPDATE CASCADE ON DELETE CASCADE,
    due_at timestamptz,
    taken boolean NOT NULL DEFAULT false,
    read_at timestamptz,
    runs bigint,
    failed bigint,
    day_accepted bigint,
    day_succeeded bigint,
    day_failed bigint,
    day_p50 float8,
    day_p95 float8,
    schema_bytes bigint,
    tables int,
    estimated_rows bigint,
    rows bigint,
    rows_counted_at timestamptz
);
CREATE INDEX figures_by_due ON insula.figures (due_at) WHERE due_at IS NOT NULL;

-- Whatever uses a tenant or changes its tables leaves a trace in its row, so this is where figures become due: at once
-- when they were never read, else five minutes after the last reading. A shard has a copy of the rows, and no figures.
CREATE FUNCTION insula.figures_become_due() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- What is due already stays so: one who is awake notes that again and again. Who takes it from now on reads later.
    INSERT INTO insula.figures AS known (tenant, due_at)
    SELECT NEW.id, clock_timestamp() FROM insula.installation AS here
    WHERE here.shard = 'control' AND NOT EXISTS (
        SELECT FROM insula.figures AS f WHERE f.tenant = NEW.id AND f.due_at IS NOT NULL AND NOT f.taken)
    ON CONFLICT (tenant) DO UPDATE
    SET due_at = greatest(excluded.due_at, known.read_at + interval '5 minutes'), taken = false
    WHERE known.due_at IS NULL OR known.taken;
    RETURN NULL;
END $$;
CREATE TRIGGER figures_of_new_tenant AFTER INSERT ON insula.tenant FOR EACH ROW
WHEN (NEW.state = 'provisioned')
EXECUTE FUNCTION insula.figures_become_due();
CREATE TRIGGER figures_of_changed_tenant AFTER UPDATE ON insula.tenant FOR EACH ROW
WHEN (NEW.state = 'provisioned' AND NEW.held_for IS NULL AND
      (NEW.last_active_at, NEW.provisioned_at, NEW.engine_version, NEW.app_version, NEW.shard, NEW.held_for)
      IS DISTINCT FROM
      (OLD.last_active_at, OLD.provisioned_at, OLD.engine_version, OLD.app_version, OLD.shard, OLD.held_for))
EXECUTE FUNCTION insula.figures_become_due();

INSERT INTO insula.figures (tenant, due_at)
SELECT t.id, now() FROM insula.tenant AS t, insula.installation AS here
WHERE t.state = 'provisioned' AND here.shard = 'control';
