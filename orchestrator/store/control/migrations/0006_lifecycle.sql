-- What operators decide about a tenant, apart from what its declaration says. `disabled_at`: it takes no work,
-- whatever a file says, until it is enabled. State `deleting`: its data are being dropped and `results` says what
-- becomes of its finished runs; whoever finds it so goes on. A removed row stays as a tombstone: the next tenant of
-- the id gets other passwords and a later epoch. `changed_in` is the transaction that changed what nodes
-- must know: each looks for what was changed since its last look.
ALTER TABLE insula.tenant
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN disabled_because text NOT NULL DEFAULT '',
    ADD COLUMN results text CHECK (results IN ('keep', 'purge')),
    ADD COLUMN removed_at timestamptz,
    ADD COLUMN changed_in xid8 NOT NULL DEFAULT pg_current_xact_id(),
    DROP CONSTRAINT tenant_state_check,
    ADD CONSTRAINT tenant_state_check CHECK (state IN ('registered', 'provisioned', 'deleting', 'removed'));
CREATE INDEX tenant_by_change ON insula.tenant (changed_in);

-- As in 0002, and now with what operators decide.
CREATE OR REPLACE FUNCTION insula.schema_to_submit_to(tenant text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known insula.tenant;
BEGIN
    SELECT * INTO known FROM insula.tenant AS t WHERE t.id = schema_to_submit_to.tenant;
    IF EXISTS (SELECT FROM pg_roles AS r
               WHERE r.rolname = session_user AND shobj_description(r.oid, 'pg_authid') LIKE 'insula:%')
       AND NOT EXISTS (SELECT FROM pg_namespace AS n
                       WHERE n.nspname = known.schema_name
                         AND has_schema_privilege(session_user, n.oid, 'USAGE'))
    THEN
        RAISE EXCEPTION USING ERRCODE = 'IN403',
            MESSAGE = format('the login %I may not start runs of tenant %L', session_user,
                             left(schema_to_submit_to.tenant, 100)),
            HINT = 'a tenant''s login starts runs of its own tenant only';
    ELSIF known.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN404',
            MESSAGE = format('no tenant %L is declared or registered', left(schema_to_submit_to.tenant, 100)),
            HINT = 'insula.submit takes the id of a tenant, not an alias; see `insula tenant list`';
    ELSIF known.state IN ('deleting', 'removed') THEN
        RAISE EXCEPTION USING ERRCODE = 'IN410',
            MESSAGE = format('tenant %L was deleted', known.id),
            HINT = 'declare it again';
    ELSIF known.declaration ->> 'enabled' = 'false' OR known.disabled_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN423',
            MESSAGE = format('tenant %L is disabled', known.id),
            HINT = CASE WHEN known.disabled_at IS NULL THEN 'set enabled = true in its file and reload'
                        ELSE format('insula tenant enable %s', known.id) END;
    ELSIF known.state <> 'provisioned' THEN
        RAISE EXCEPTION USING ERRCODE = 'IN503',
            MESSAGE = format('tenant %L has no tables yet', known.id),
            HINT = 'it gets them when it is provisioned, at the latest with the first run that the daemon starts';
    END IF;
    RETURN known.schema_name;
END
$$;
