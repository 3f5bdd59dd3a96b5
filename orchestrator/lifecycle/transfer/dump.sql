-- Reads a whole tenant for an archive. `tenant.` is its schema.

-- name: lock
-- Before there is a snapshot: who changes a table meanwhile is waited for, and nobody can change one from then on.
LOCK TABLE :"schema".:"table" IN ACCESS SHARE MODE;

-- name: begin
-- As pg_dump has it, so that values come out of any session the same.
SET LOCAL search_path = '';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL extra_float_digits = 3;
SET LOCAL bytea_output = 'hex';
SET LOCAL row_security = off;
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;

-- name: snapshot
SELECT pg_export_snapshot()

-- name: tables
-- What an extension made, it makes again. A generated column is not copied.
SELECT c.relname::text AS name, c.relpersistence = 'u' AS unlogged,
       coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = ''), '{}') AS columns
FROM pg_class AS c LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relkind = 'r'
  AND NOT EXISTS (SELECT FROM pg_depend AS d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY c.oid ORDER BY c.relname COLLATE "C"

-- name: sequences
SELECT relname::text AS name FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind = 'S' ORDER BY 1

-- name: position
SELECT last_value, is_called FROM :"schema".:"sequence"

-- name: refresh
-- In the order in which they were made: one may read another.
SELECT quote_ident(relname) FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relkind = 'm' AND relispopulated
ORDER BY oid

-- name: grants
-- What the application's login may do. A routine is listed when not everybody may call it, which is the default.
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, quote_ident(c.relname) AS name,
       array_agg(p.what ORDER BY p.what) AS privileges, false AS public
FROM pg_class AS c CROSS JOIN LATERAL (
    SELECT privilege_type AS what, grantee FROM aclexplode(c.relacl)
    UNION ALL
    SELECT privilege_type || ' (' || quote_ident(a.attname) || ')', acl.grantee
    FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS acl
    WHERE a.attrelid = c.oid AND NOT a.attisdropped
) AS p
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
  AND p.grantee = (SELECT oid FROM pg_roles WHERE rolname = $2)
GROUP BY c.oid
UNION ALL
SELECT 'ROUTINE', quote_ident(r.proname) || '(' || pg_get_function_identity_arguments(r.oid) || ')',
       CASE WHEN bool_or(p.grantee = (SELECT oid FROM pg_roles WHERE rolname = $2)) THEN ARRAY['EXECUTE']
            ELSE '{}' END,
       bool_or(p.grantee = 0)
FROM pg_proc AS r CROSS JOIN LATERAL aclexplode(r.proacl) AS p
WHERE r.pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
GROUP BY r.oid
ORDER BY 1, 2

-- name: ledger
SELECT ledger, number, name, checksum FROM tenant.wf_migration ORDER BY ledger, number
