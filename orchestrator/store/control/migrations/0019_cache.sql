-- The caches of tenants on a server of their own: which schemas of which tenants have had one there. A row is there
-- before the first value, and goes when the cache is emptied because that schema is the tenant's no more.
CREATE TABLE insula.cache (
    tenant text NOT NULL,
    schema_number bigint NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, schema_number)
);
