-- `config_hash` tells what a tenant is to be served as, its tier included, and `applied_hash` what it was served as
-- last. `undeclared_at` is when a file that declared it no longer did: it is not served, and keeps its data.
ALTER TABLE insula.tenant
    ADD COLUMN config_hash text,
    ADD COLUMN applied_hash text,
    ADD COLUMN undeclared_at timestamptz;
