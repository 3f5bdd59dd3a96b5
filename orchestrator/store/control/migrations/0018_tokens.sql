-- Who may use the API over TCP. Nothing of a token is here but its id and the SHA-256 of the whole: 256 random bits are
-- not to be guessed, so the hash needs neither salt nor rounds. Without a tenant it is for the whole installation.
CREATE TABLE insula.token (
    id text PRIMARY KEY,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    tenant text,
    role text NOT NULL CHECK (role IN ('read', 'write', 'admin')),
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT token_of_the_installation_is_for_all CHECK (tenant IS NOT NULL OR role = 'admin')
);
CREATE INDEX token_by_tenant ON insula.token (tenant, created_at);
REVOKE ALL ON insula.token FROM PUBLIC;
