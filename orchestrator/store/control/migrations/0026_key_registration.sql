-- Whose a key is: of one registration, not of all that were ever called so. A tenant that is made under the id of a former
-- one has keys of its own, and the erasure of either is not the other's. `tenant` is the id that a key is bound to.
ALTER TABLE insula.tenant_key ADD COLUMN registration uuid;

-- Until now a tenant took over the keys of a former one, and has sealed with them: those are its own. What is destroyed is
-- not, as nobody is there whose keys are. What no row tells of is of tenants that are gone.
UPDATE insula.tenant_key AS key SET registration = coalesce(
    (SELECT known.registration FROM insula.tenant AS known
     WHERE known.id = key.tenant AND (key.wrapped IS NOT NULL OR known.state = 'removed')), gen_random_uuid());
ALTER TABLE insula.tenant_key ALTER COLUMN registration SET NOT NULL;

-- Who makes a tenant of an archive seals for its new registration before there is a row: it brings that along.
CREATE OR REPLACE FUNCTION insula.tenant_begins_anew() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.registration = OLD.registration THEN
        NEW.registration := gen_random_uuid();
    END IF;
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END $$;
