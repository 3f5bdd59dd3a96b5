-- Takes over a schema that exists. `$1` is its name; what an extension has made is the extension's.

-- name: source
SELECT
    n.oid IS NOT NULL AS exists,
    EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = 'wf_migration')
        OR EXISTS (SELECT FROM insula.tenant WHERE schema_name = $1) AS ours,
    pg_has_role(n.nspowner, 'USAGE') AS may
FROM (SELECT 1) AS one LEFT JOIN pg_namespace AS n ON n.nspname = $1

-- name: names_taken
SELECT relname::text AS name FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident($1)) AND starts_with(relname, 'wf_')
UNION
SELECT proname::text FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident($1)) AND starts_with(proname, 'wf_')
ORDER BY name

-- name: owners
-- Those whose objects the admin login can not take over.
SELECT owner::regrole::text
FROM (
    SELECT relowner AS owner FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident($1))
    UNION SELECT proowner FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident($1))
    UNION SELECT typowner FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident($1))
) AS owners
WHERE NOT pg_has_role(owner, 'USAGE')
ORDER BY 1

-- name: extensions
SELECT extname::text FROM pg_extension WHERE extnamespace = to_regnamespace(quote_ident($1)) ORDER BY extname

-- name: other_kinds
-- What is seldom, and would stay behind in public.
SELECT what || ' ' || name
FROM (
    SELECT 'operator' AS what, oprname::text AS name, oid, 'pg_operator'::regclass AS class
    FROM pg_operator WHERE oprnamespace = to_regnamespace(quote_ident($1))
    UNION ALL
    SELECT 'operator class', opcname, oid, 'pg_opclass'::regclass
    FROM pg_opclass WHERE opcnamespace = to_regnamespace(quote_ident($1))
    UNION ALL
    SELECT 'collation', collname, oid, 'pg_collation'::regclass
    FROM pg_collation WHERE collnamespace = to_regnamespace(quote_ident($1))
    UNION ALL
    SELECT 'text search configuration', cfgname, oid, 'pg_ts_config'::regclass
    FROM pg_ts_config WHERE cfgnamespace = to_regnamespace(quote_ident($1))
) AS found
WHERE NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = found.oid AND deptype = 'e')
ORDER BY 1

-- name: entangled
-- What hangs together with another schema, in either direction: a tenant's backup would not be whole.
WITH here AS (SELECT to_regnamespace(quote_ident($1))::oid AS oid), elsewhere AS (
    SELECT oid FROM pg_namespace
    WHERE oid <> (SELECT oid FROM here) AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
), link AS (
    SELECT 'foreign key ' || conname AS what, f.oid AS one, t.oid AS other
    FROM pg_constraint JOIN pg_class AS f ON f.oid = conrelid JOIN pg_class AS t ON t.oid = confrelid
    WHERE contype = 'f'
    UNION ALL
    SELECT DISTINCT 'view ' || v.relname, v.oid, t.oid
    FROM pg_depend JOIN pg_rewrite AS r ON classid = 'pg_rewrite'::regclass AND objid = r.oid
    JOIN pg_class AS v ON v.oid = r.ev_class
    JOIN pg_class AS t ON refclassid = 'pg_class'::regclass AND t.oid = refobjid
    UNION ALL
    SELECT 'partition or heir ' || f.relname, f.oid, t.oid
    FROM pg_inherits JOIN pg_class AS f ON f.oid = inhrelid JOIN pg_class AS t ON t.oid = inhparent
)
SELECT what || ' of ' || f.relnamespace::regnamespace || '.' || f.relname || ' needs '
    || t.relnamespace::regnamespace || '.' || t.relname
FROM link JOIN pg_class AS f ON f.oid = link.one JOIN pg_class AS t ON t.oid = link.other
WHERE (f.relnamespace IN (SELECT oid FROM here) AND t.relnamespace IN (SELECT oid FROM elsewhere))
   OR (t.relnamespace IN (SELECT oid FROM here) AND f.relnamespace IN (SELECT oid FROM elsewhere))
UNION
SELECT 'trigger ' || tgname || ' of ' || c.relnamespace::regnamespace || '.' || relname || ' calls '
    || p.pronamespace::regnamespace || '.' || proname || '()'
FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid JOIN pg_proc AS p ON p.oid = tgfoid
WHERE NOT tgisinternal
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
  AND (
      (c.relnamespace IN (SELECT oid FROM here) AND p.pronamespace IN (SELECT oid FROM elsewhere))
      OR (p.pronamespace IN (SELECT oid FROM here) AND c.relnamespace IN (SELECT oid FROM elsewhere))
  )
UNION
SELECT 'column ' || c.relnamespace::regnamespace || '.' || relname || '.' || attname || ' has type '
    || t.typnamespace::regnamespace || '.' || typname
FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid JOIN pg_type AS t ON t.oid = atttypid
WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_type'::regclass AND objid = t.oid AND deptype = 'e')
  AND (
      (c.relnamespace IN (SELECT oid FROM here) AND t.typnamespace IN (SELECT oid FROM elsewhere))
      OR (t.typnamespace IN (SELECT oid FROM here) AND c.relnamespace IN (SELECT oid FROM elsewhere))
  )
ORDER BY 1

-- name: texts
-- Functions whose text names the schema, which will have another name.
SELECT proname::text FROM pg_proc AS p
WHERE pronamespace = to_regnamespace(quote_ident($1)) AND strpos(prosrc, $1 || '.') > 0
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
ORDER BY 1

-- name: grantees
-- Who else has rights, and keeps them.
SELECT DISTINCT CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END
FROM pg_class, aclexplode(relacl)
WHERE relnamespace = to_regnamespace(quote_ident($1)) AND grantee <> relowner
ORDER BY 1

-- name: objects
-- Each with the word that ALTER takes for it. What belongs to a column or an extension goes with that.
WITH me AS (SELECT oid FROM pg_roles WHERE rolname = current_user)
SELECT word, name, owned
FROM (
    SELECT 1 AS rank,
        CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
            WHEN 'c' THEN 'TYPE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END AS word,
        format('%I.%I', $1::text, relname) AS name,
        relowner = me.oid AS owned, pg_class.oid, 'pg_class'::regclass AS class
    FROM pg_class, me
    WHERE relnamespace = to_regnamespace(quote_ident($1)) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL
    SELECT 2, 'ROUTINE', p.oid::regprocedure::text, proowner = me.oid, p.oid, 'pg_proc'::regclass
    FROM pg_proc AS p, me WHERE pronamespace = to_regnamespace(quote_ident($1))
    UNION ALL
    SELECT 3, CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, format('%I.%I', $1::text, typname),
        typowner = me.oid, t.oid, 'pg_type'::regclass
    FROM pg_type AS t, me WHERE typnamespace = to_regnamespace(quote_ident($1)) AND typtype IN ('e', 'd', 'r')
    UNION ALL
    SELECT 4, 'STATISTICS', format('%I.%I', $1::text, stxname), stxowner = me.oid, s.oid,
        'pg_statistic_ext'::regclass
    FROM pg_statistic_ext AS s, me WHERE stxnamespace = to_regnamespace(quote_ident($1))
) AS found
WHERE NOT EXISTS (
    SELECT FROM pg_depend
    WHERE classid = class AND objid = found.oid
      AND (deptype = 'e' OR (word = 'SEQUENCE' AND deptype IN ('a', 'i') AND refclassid = 'pg_class'::regclass))
)
ORDER BY rank, name

-- name: tables
-- What tasks get the rights on that a migration would have given them.
SELECT relname::text AS name, relkind = 'S' AS sequence FROM pg_class
WHERE relnamespace = to_regnamespace(quote_ident($1)) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND NOT starts_with(relname, 'wf_')
ORDER BY relname
