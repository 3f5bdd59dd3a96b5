-- Where tenants live: in this database, or on a shard, which is another one. A shard has a control schema like this, in
-- which few tables are used: `installation` says whose it is and which shard, so that no mistaken URL makes anybody's
-- tenants anew; `lock`; `submission`, which the daemon carries over to the wake index; and `tenant`, a copy of the rows
-- of those who live there, for insula.submit.
ALTER TABLE insula.tenant ADD COLUMN shard text NOT NULL DEFAULT 'control';
ALTER TABLE insula.installation
    ADD COLUMN shard text NOT NULL DEFAULT 'control',
    ADD COLUMN isolation text NOT NULL DEFAULT 'role' CHECK (isolation IN ('role', 'database'));

-- As in 0006, and now with tenants that are held, renamed, archived or on a shard.
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
    ELSIF known.state = 'removed' AND known.renamed_to IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN410',
            MESSAGE = format('tenant %L was renamed', known.id),
            HINT = format('it is called %s now; insula.submit takes the id of a tenant, not an alias', known.renamed_to);
    ELSIF known.state IN ('deleting', 'removed') THEN
        RAISE EXCEPTION USING ERRCODE = 'IN410',
            MESSAGE = format('tenant %L was deleted', known.id),
            HINT = 'declare it again';
    ELSIF known.state = 'archived' THEN
        RAISE EXCEPTION USING ERRCODE = 'IN424',
            MESSAGE = format('tenant %L is archived', known.id),
            HINT = format('insula tenant unarchive %s', known.id);
    ELSIF known.declaration ->> 'enabled' = 'false' OR known.disabled_at IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN423',
            MESSAGE = format('tenant %L is disabled', known.id),
            HINT = CASE WHEN known.disabled_at IS NULL THEN 'set enabled = true in its file and reload'
                        ELSE format('insula tenant enable %s', known.id) END;
    ELSIF known.held_for IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'IN425',
            MESSAGE = format('tenant %L is held for %s', known.id, known.held_for),
            HINT = 'it goes on by itself; nothing was stored, so try again in a moment';
    ELSIF known.shard <> (SELECT shard FROM insula.installation) THEN
        RAISE EXCEPTION USING ERRCODE = 'IN421',
            MESSAGE = format('tenant %L lives on shard %L, not in this database', known.id, known.shard),
            HINT = 'submit in the database that `insula tenant show` names, or through the daemon';
    ELSIF known.state <> 'provisioned' THEN
        RAISE EXCEPTION USING ERRCODE = 'IN503',
            MESSAGE = format('tenant %L has no tables yet', known.id),
            HINT = 'it gets them when it is provisioned, at the latest with the first run that the daemon starts';
    END IF;
    RETURN known.schema_name;
END
$$;

-- Where a copy of a tenant's tables is kept that has moved from there, until that is confirmed.
ALTER TABLE insula.tenant ADD COLUMN moved_from text;
