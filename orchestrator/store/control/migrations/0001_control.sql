-- What the installation knows of its tenants and nodes. No tenant's role may see any of it.
CREATE SCHEMA insula;
COMMENT ON SCHEMA insula IS 'control schema of Insula';
REVOKE ALL ON SCHEMA insula FROM PUBLIC;

-- One row. Its id marks the roles that belong to this installation.
CREATE TABLE insula.installation (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX installation_is_one_row ON insula.installation ((true));
INSERT INTO insula.installation DEFAULT VALUES;

-- Every tenant ever declared; a row stays when a file no longer names it.
-- `fingerprint` tells from which key, names and files it was last provisioned; see lifecycle/provision.py.
CREATE TABLE insula.tenant (
    id text PRIMARY KEY,
    source text NOT NULL CHECK (source IN ('file', 'api')),
    declaration json NOT NULL,
    schema_name text NOT NULL UNIQUE,
    state text NOT NULL DEFAULT 'registered'
        CHECK (state IN ('registered', 'provisioned', 'removed')),
    engine_version int NOT NULL DEFAULT 0,
    app_version int NOT NULL DEFAULT 0,
    rotation int NOT NULL DEFAULT 0,
    fingerprint text,
    created_at timestamptz NOT NULL DEFAULT now(),
    provisioned_at timestamptz,
    last_active_at timestamptz
);

-- One row an incarnation of a node, renewed on the database's clock.
CREATE TABLE insula.node (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX node_by_name ON insula.node (name);

-- Who serves a tenant. The epoch only grows; no node means that nobody does.
CREATE TABLE insula.lease (
    tenant text PRIMARY KEY,
    node uuid,
    epoch bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX lease_by_node ON insula.lease (node) WHERE node IS NOT NULL;

-- The next moment at which a dormant tenant has anything to do.
CREATE TABLE insula.wake (
    tenant text PRIMARY KEY,
    due_at timestamptz NOT NULL,
    reason text NOT NULL
);
CREATE INDEX wake_by_due ON insula.wake (due_at);

-- Since when a schedule has had the times that it has: nothing before counts as missed. Here, because a tenant
-- that sleeps, or was never used, does not hear of its declaration.
CREATE TABLE insula.schedule (
    tenant text,
    name text,
    times text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE insula.migration (
    number int PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
