-- Rows to be locked, so that nodes do one thing after the other. Any login can take any advisory lock, and a
-- tenant's could keep us from provisioning for as long as it likes; these rows no tenant's login can see.
CREATE TABLE insula.lock (
    name text PRIMARY KEY
);
