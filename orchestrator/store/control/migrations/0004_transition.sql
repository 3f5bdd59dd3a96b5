-- What became of tenants' supervisors, on all nodes: the last changes of state of each tenant.
CREATE TABLE insula.transition (
    tenant text,
    number bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    node text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    next_at timestamptz,
    PRIMARY KEY (tenant, number)
);
