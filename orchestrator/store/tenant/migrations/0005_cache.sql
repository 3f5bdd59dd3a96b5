-- Values that may be lost at any time: UNLOGGED, so they cost no WAL, and a crash of the server empties the table.
-- `space` is the path of a namespace, each name after its length, so no two paths and keys are the same. Bounded in
-- rows and bytes, so it needs no index but the key.
CREATE UNLOGGED TABLE tenant.wf_cache (
    space text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value text NOT NULL,
    expires_at timestamptz,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (space, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
