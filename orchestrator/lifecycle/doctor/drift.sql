-- What is in tenants' schemas, in words that are the same for every tenant: no name of a schema or a role.

-- name: places
-- $1 are schemas, $2 and $3 their logins. `said` takes the schema's name out of what the server says of an object.
WITH place AS (
    SELECT
        n.oid, n.nspname::text AS schema, wanted.engine, wanted.app, n.nspacl, n.nspowner,
        n.nspname || '.' AS plain, '"' || n.nspname || '".' AS quoted
    FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (schema, engine, app)
    JOIN pg_namespace AS n ON n.nspname = wanted.schema
), relation AS (
    SELECT c.*, place.schema, place.engine, place.app, place.plain, place.quoted
    FROM place JOIN pg_class AS c ON c.relnamespace = place.oid
)

-- name: things_of_relations
, of_relations AS (
    SELECT schema, engine, app, plain, quoted, 'schema' AS kind, '' AS name,
        concat_ws(' ', 'owner', nspowner::regrole, nspacl::text) AS said
    FROM place
    UNION ALL
    SELECT schema, engine, app, plain, quoted,
        CASE relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END,
        relname::text,
        concat_ws(' ',
            CASE relpersistence WHEN 'u' THEN 'unlogged' END,
            CASE WHEN relkind = 'p' THEN 'partitioned' WHEN relispartition THEN 'partition' END,
            CASE WHEN relrowsecurity THEN 'row security' END,
            reloptions::text,
            CASE WHEN relkind IN ('v', 'm') THEN pg_get_viewdef(relation.oid) END,
            (SELECT concat_ws(' ', format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcycle)
             FROM pg_sequence WHERE seqrelid = relation.oid),
            'owner', relowner::regrole, 'rights',
            (SELECT string_agg(item, ', ' ORDER BY item) FROM unnest(relacl::text[]) AS item))
    FROM relation
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT schema, engine, app, plain, quoted, 'column', relname || '.' || attname,
        concat_ws(' ',
            format_type(atttypid, atttypmod),
            CASE WHEN attnotnull THEN 'not null' END,
            CASE WHEN attidentity <> '' THEN 'identity ' || attidentity::text END,
            CASE WHEN attgenerated <> '' THEN 'generated' END,
            CASE WHEN attcollation <> typcollation THEN 'collate ' || attcollation::regcollation::text END,
            'default ' || pg_get_expr(adbin, adrelid),
            'rights ' || attacl::text)
    FROM relation
    JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type ON pg_type.oid = atttypid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
    UNION ALL
    SELECT schema, engine, app, plain, quoted, 'index', relname::text, pg_get_indexdef(indexrelid)
    FROM relation JOIN pg_index ON indexrelid = relation.oid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT schema, engine, app, plain, quoted, 'constraint', relname || '.' || conname, pg_get_constraintdef(con.oid)
    FROM relation JOIN pg_constraint AS con ON conrelid = relation.oid
    WHERE contype <> 'n'
    UNION ALL
    SELECT schema, engine, app, plain, quoted, 'trigger', relname || '.' || tgname,
        concat_ws(' ', pg_get_triggerdef(tg.oid), nullif(tgenabled::text, 'O'))
    FROM relation JOIN pg_trigger AS tg ON tgrelid = relation.oid AND NOT tgisinternal
    UNION ALL
    SELECT schema, engine, app, plain, quoted, 'policy', relname || '.' || polname,
        concat_ws(' ', polcmd::text, polpermissive, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    FROM relation JOIN pg_policy ON polrelid = relation.oid
)

-- name: other_things
, others AS (
    SELECT schema, engine, app, plain, quoted, 'function' AS kind,
        proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
        concat_ws(' ',
            CASE WHEN prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END,
            'owner', proowner::regrole, 'rights',
            (SELECT string_agg(item, ', ' ORDER BY item) FROM unnest(proacl::text[]) AS item)) AS said
    FROM place JOIN pg_proc AS p ON p.pronamespace = place.oid
    UNION ALL
    SELECT schema, engine, app, plain, quoted, 'type', typname::text,
        concat_ws(' ',
            (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
             FROM pg_enum WHERE enumtypid = t.oid),
            CASE WHEN typtype = 'd' THEN format_type(typbasetype, typtypmod) END,
            (SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname)
             FROM pg_constraint WHERE contypid = t.oid AND contype <> 'n'))
    FROM place JOIN pg_type AS t ON t.typnamespace = place.oid AND typtype IN ('e', 'd')
    UNION ALL
    SELECT schema, engine, app, schema || ',', quoted, 'role', login.what,
        concat_ws(' ',
            CASE WHEN NOT rolcanlogin THEN 'no login' END,
            CASE WHEN rolinherit THEN 'inherit' END,
            CASE WHEN rolsuper THEN 'superuser' END,
            CASE WHEN rolcreaterole THEN 'createrole' END,
            CASE WHEN rolcreatedb THEN 'createdb' END,
            CASE WHEN rolreplication THEN 'replication' END,
            CASE WHEN rolbypassrls THEN 'bypassrls' END,
            'connections ' || rolconnlimit,
            'valid until ' || rolvaliduntil,
            shobj_description(r.oid, 'pg_authid'),
            (SELECT string_agg(setting, '; ' ORDER BY setting)
             FROM pg_db_role_setting, unnest(setconfig) AS setting
             WHERE setrole = r.oid
               AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))),
            (SELECT 'member of ' || string_agg(DISTINCT roleid::regrole::text, ', ')
             FROM pg_auth_members WHERE member = r.oid))
    FROM place
    CROSS JOIN LATERAL (VALUES ('engine', place.engine), ('app', place.app)) AS login (what, name)
    JOIN pg_roles AS r ON r.rolname = login.name
)

-- name: objects
-- In words that are the same for all.
, object AS (
    SELECT schema, kind, name,
        replace(replace(replace(replace(replace(said, quoted, ''), plain, ''),
            engine || '=', 'engine='), app || '=', 'app='), '"', '') AS said
    FROM (SELECT * FROM of_relations UNION ALL SELECT * FROM others) AS thing
)

-- name: all_objects
SELECT schema, kind, name, said FROM object

-- name: digests
-- One row a schema: those that are as they should be have the same.
SELECT schema, md5(string_agg(concat_ws(' ', kind, name, said), E'\n' ORDER BY kind, name, said)) FROM object
GROUP BY schema
