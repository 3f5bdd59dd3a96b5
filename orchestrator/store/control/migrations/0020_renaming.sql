-- A tenant on a shard has its new id here before its tables and logins have it there. Until then this is the id that
-- they may still have; the tenant stays held, and nobody else is called so.
ALTER TABLE insula.tenant ADD COLUMN renaming text;
