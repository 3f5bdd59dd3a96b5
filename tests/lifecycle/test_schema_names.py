"""A schema gets another name where it is a name, and nowhere else."""

from __future__ import annotations

import pytest

from orchestrator.lifecycle.transfer.rename import rename_schema


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CREATE SCHEMA tenant_a;", "CREATE SCHEMA b;"),
        ('CREATE SCHEMA "tenant_a";', 'CREATE SCHEMA "b";'),
        ("CREATE TABLE tenant_a.t (x tenant_a.kind)", "CREATE TABLE b.t (x b.kind)"),
        ('REFERENCES "tenant_a".t', 'REFERENCES "b".t'),
        ("nextval('tenant_a.s'::regclass)", "nextval('b.s'::regclass)"),
        ("""nextval('"tenant_a"."S"'::regclass)""", """nextval('"b"."S"'::regclass)"""),
        (
            "SET search_path TO 'pg_catalog', 'tenant_a', 'pg_temp'",
            "SET search_path TO 'pg_catalog', 'b', 'pg_temp'",
        ),
        ("AS $$ SELECT tenant_a.f() $$", "AS $$ SELECT b.f() $$"),
        ("AS $_$ $$ FROM tenant_a.t $$ $_$", "AS $_$ $$ FROM b.t $$ $_$"),
    ],
)
def test_a_name_is_changed(before: str, after: str) -> None:
    assert rename_schema(before, "tenant_a", "b") == after


@pytest.mark.parametrize(
    "same",
    [
        "DEFAULT 'tenant_a.t'::text",
        r"DEFAULT E'\\tenant_a.t'::text",
        "COMMENT ON TABLE x.y IS 'it''s tenant_a.t'",
        "-- Schema: tenant_a.t",
        "SELECT x.tenant_a.y",
        "my_tenant_a.t tenant_ab.t tenant_a1.t",
        'CREATE TABLE x.tenant_a ("tenant_a" text)',
        "AS $$ SELECT 'tenant_a.t' $$",
    ],
)
def test_what_is_no_name_of_the_schema_stays(same: str) -> None:
    assert rename_schema(same, "tenant_a", "b") == same
