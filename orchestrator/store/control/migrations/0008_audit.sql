-- Who did what to a tenant, and what came of it. It is only added to, and outlives the tenant.
-- An entry is written before the operation begins, and its outcome as an entry of its own that `answers` it: of
-- one without an answer nobody knows how it ended, since the node died or lost the database in its middle.
CREATE TABLE insula.audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    answers bigint UNIQUE,  -- no foreign key: its check locks the row, which takes the right to change it
    tenant text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    node text NOT NULL,
    actor text NOT NULL,
    operation text NOT NULL,
    subject text NOT NULL DEFAULT '',
    outcome text,
    detail text NOT NULL DEFAULT '',
    CHECK ((answers IS NULL) = (outcome IS NULL))
);
CREATE INDEX audit_by_tenant ON insula.audit (tenant, number) WHERE answers IS NULL;

-- Not even the login that writes it may change it. A superuser is stopped by the trigger alone.
REVOKE ALL ON insula.audit FROM PUBLIC;
REVOKE UPDATE, DELETE, TRUNCATE ON insula.audit FROM CURRENT_USER;

CREATE FUNCTION insula.refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '%.% is only added to', tg_table_schema, tg_table_name USING ERRCODE = '42501';
END $$;
CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON insula.audit
FOR EACH STATEMENT EXECUTE FUNCTION insula.refuse_change();
