-- State `archived`: there is nothing of the tenant on the server but its row, and all of it in the file `archive`,
-- from which it is brought back. Its results are then `archive` while its data are being dropped.
ALTER TABLE insula.tenant
    ADD COLUMN archive text,
    DROP CONSTRAINT tenant_state_check,
    ADD CONSTRAINT tenant_state_check
        CHECK (state IN ('registered', 'provisioned', 'deleting', 'removed', 'archived')),
    DROP CONSTRAINT tenant_results_check,
    ADD CONSTRAINT tenant_results_check CHECK (results IN ('keep', 'purge', 'archive')),
    ADD CONSTRAINT tenant_is_archived_in_a_file CHECK (state <> 'archived' OR archive IS NOT NULL);
