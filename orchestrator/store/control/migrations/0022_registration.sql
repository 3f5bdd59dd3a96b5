-- Which tenant it is that an id names. One that is made under the id of a former tenant is another one: what outlives a
-- deletion is kept by `registration`, which a tenant keeps while it lives, through renames, moves and archives. A tombstone
-- has that of the former tenant until the id begins anew.
ALTER TABLE insula.tenant ADD COLUMN registration uuid NOT NULL DEFAULT gen_random_uuid();
CREATE INDEX tenant_by_registration ON insula.tenant (registration);

-- Here, because no statement that begins an id anew may forget it. A shard has a copy of the rows, which it never changes.
CREATE FUNCTION insula.tenant_begins_anew() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.registration := gen_random_uuid();
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER tenant_begins_anew BEFORE UPDATE OF state ON insula.tenant FOR EACH ROW
WHEN (OLD.state = 'removed' AND NEW.state <> 'removed')
EXECUTE FUNCTION insula.tenant_begins_anew();

-- What was told of a ledger before may be a former tenant's: it is the present one's only if that has gone on after its
-- tables were made, and else nobody's that is known.
ALTER TABLE insula.usage ADD COLUMN registration uuid;
UPDATE insula.usage AS usage SET registration = coalesce(
    (SELECT known.registration FROM insula.tenant AS known
     WHERE known.id = usage.tenant AND known.provisioned_at < ledger.last_at), usage.ledger)
FROM (SELECT ledger, max(starts_at) AS last_at FROM insula.usage GROUP BY ledger) AS ledger
WHERE ledger.ledger = usage.ledger;
ALTER TABLE insula.usage ALTER COLUMN registration SET NOT NULL;
CREATE INDEX usage_by_registration ON insula.usage (registration, starts_at);

-- These have no name of a tenant, so that they are found through the registry alone.
ALTER TABLE insula.alert ADD COLUMN registration uuid;
UPDATE insula.alert AS alert SET registration = known.registration
FROM insula.tenant AS known WHERE known.id = alert.tenant AND known.provisioned_at <= alert.at;
DELETE FROM insula.alert WHERE registration IS NULL;
ALTER TABLE insula.alert DROP COLUMN tenant, ADD PRIMARY KEY (registration, quota, since);

ALTER TABLE insula.transition ADD COLUMN registration uuid;
UPDATE insula.transition AS transition SET registration = known.registration
FROM insula.tenant AS known WHERE known.id = transition.tenant AND known.provisioned_at <= transition.at;
DELETE FROM insula.transition WHERE registration IS NULL;
ALTER TABLE insula.transition DROP COLUMN tenant, ADD PRIMARY KEY (registration, number);
