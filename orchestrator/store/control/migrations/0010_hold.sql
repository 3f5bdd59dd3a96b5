-- A verb that needs a tenant quiet holds it: no node serves it and nobody submits to it until the hold is released.
-- `held_by` is the incarnation of the node that does the verb: when that is dead, any other releases the tenant.
ALTER TABLE insula.tenant
    ADD COLUMN held_for text,
    ADD COLUMN held_by uuid,
    ADD COLUMN held_at timestamptz,
    ADD CONSTRAINT tenant_is_held_as_a_whole CHECK (num_nulls(held_for, held_by, held_at) IN (0, 3));
CREATE INDEX tenant_by_holder ON insula.tenant (held_by) WHERE held_by IS NOT NULL;
