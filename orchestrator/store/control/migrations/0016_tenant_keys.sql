-- The keys of tenants. Under such a key the data keys of one tenant are sealed, which lie in its schema (wf_key) and so in
-- every archive of it; this one is here alone. Without it what was ever sealed for the tenant is lost, in the archives
-- too: that is how a tenant is erased. `wrapped` is the key itself, sealed with one that is derived from the
-- installation's, bound to its id and the tenant; `wrapped_by` tells which installation's key that was. It outlives the
-- tenant, so that one that was deleted can be restored. An erased row stays, and says why nothing can be opened.
CREATE TABLE insula.tenant_key (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    wrapped bytea,
    wrapped_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at timestamptz,
    CHECK ((wrapped IS NULL) = (erased_at IS NOT NULL))
);
CREATE INDEX tenant_key_by_tenant ON insula.tenant_key (tenant);

-- Results `erase`: nothing is kept, and the tenant's keys go in the transaction that makes its row a tombstone.
ALTER TABLE insula.tenant
    DROP CONSTRAINT tenant_results_check,
    ADD CONSTRAINT tenant_results_check CHECK (results IN ('keep', 'purge', 'archive', 'erase'));
