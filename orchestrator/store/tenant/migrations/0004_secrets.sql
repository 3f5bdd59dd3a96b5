-- The keys under which data of this tenant are sealed. `wrapped` is such a key, sealed itself with one that is
-- derived from the installation's key and `id`; `wrapped_by` tells which installation's key that was. A key's id
-- is made up at random and goes with the rows that it sealed, so a copy of all of them, under any name, can be
-- read by the same installation, and a row among another key's can not. Without its row here what a key has
-- sealed is lost: that is how it is erased. `payloads` is set before the first payload of a run is sealed with the
-- key: from then on it stays, for the runs that it sealed.
CREATE TABLE tenant.wf_key (
    id uuid PRIMARY KEY,
    wrapped bytea NOT NULL,
    wrapped_by text NOT NULL,
    current boolean NOT NULL,
    payloads boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX wf_key_current ON tenant.wf_key (current) WHERE current;

-- `sealed` is bound to the key's id, the row's id and the name. The supervisor's login may read, none may write.
CREATE TABLE tenant.wf_secret (
    name text PRIMARY KEY,
    id uuid NOT NULL,
    key_id uuid NOT NULL REFERENCES tenant.wf_key,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
