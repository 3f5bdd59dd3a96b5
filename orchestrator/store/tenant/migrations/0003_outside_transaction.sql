-- A migration of the application that runs outside a transaction can end in the middle. The row `begun` stays until
-- its end is known: the statement that was reached, and the session that is at it, or was when it died.
ALTER TABLE tenant.wf_migration
    DROP CONSTRAINT wf_migration_ledger_check,
    ADD CONSTRAINT wf_migration_ledger_check CHECK (ledger IN ('engine', 'app', 'begun')),
    ADD COLUMN line integer,
    ADD COLUMN backend integer,
    ADD COLUMN backend_start timestamptz;
