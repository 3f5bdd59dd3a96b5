-- What of a tenant is paused, as its own table has it: a list of {workflow, since, reason}. Only the owner of the lease
-- changes that table. It tells every change under its epoch, and all of it in the statement that lets go: of a tenant
-- that nobody serves this is exact.
ALTER TABLE insula.lease ADD COLUMN pauses jsonb NOT NULL DEFAULT '[]';
CREATE INDEX lease_by_pauses ON insula.lease (tenant) WHERE pauses <> '[]';
