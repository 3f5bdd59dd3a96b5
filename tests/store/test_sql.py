"""SQL files, and names put into them."""

from __future__ import annotations

import pytest

from orchestrator.store import sql


def test_a_block_runs_from_its_name_to_the_next() -> None:
    queries = sql.load("orchestrator.store.migrate")

    assert set(queries) == {"has_ledger", "ledger", "lock", "lock_ledger", "record"}
    assert queries["ledger"] == (
        "SELECT number, name, checksum FROM insula.migration ORDER BY number"
    )


def test_a_misspelt_name_fails_where_it_is_looked_up() -> None:
    with pytest.raises(KeyError):
        sql.load("orchestrator.store.migrate")["leger"]


@pytest.mark.parametrize(
    ("query", "bound"),
    [
        ("SELECT * FROM tenant.wf_run", 'SELECT * FROM "tenant_a".wf_run'),
        (
            "UPDATE tenant.wf_run r SET x = r.tenant.y",
            'UPDATE "tenant_a".wf_run r SET x = r.tenant.y',
        ),
        ("SELECT 'tenant.wf_run', ' it''s tenant.x'", "SELECT 'tenant.wf_run', ' it''s tenant.x'"),
        ("SELECT 1 -- it's tenant.wf_run", "SELECT 1 -- it's tenant.wf_run"),
        ("SELECT /* tenant.x ' */ 1 FROM tenant.y", 'SELECT /* tenant.x \' */ 1 FROM "tenant_a".y'),
        ("SELECT x FROM insula.tenant", "SELECT x FROM insula.tenant"),
        ("SELECT x FROM insula.tenant.wf_run", "SELECT x FROM insula.tenant.wf_run"),
        ("SELECT x FROM my_tenant.wf_run", "SELECT x FROM my_tenant.wf_run"),
        ('SELECT "tenant.wf_run" FROM (tenant.a)', 'SELECT "tenant.wf_run" FROM ("tenant_a".a)'),
    ],
)
def test_only_the_qualifier_is_bound(query: str, bound: str) -> None:
    assert sql.bind(query, "tenant_a") == bound


def test_a_schema_is_always_quoted() -> None:
    assert sql.bind("SELECT FROM tenant.x", 'a"; DROP') == 'SELECT FROM "a""; DROP".x'


def test_variables_are_filled_quoted() -> None:
    text = """ALTER ROLE :"role" PASSWORD :'secret'; SELECT ':"role"', x::text -- :'secret'"""

    filled = sql.fill(text, role='a"b', secret="it's")

    assert filled == (
        """ALTER ROLE "a""b" PASSWORD 'it''s'; SELECT ':"role"', x::text -- :'secret'"""
    )


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        sql.fill('DROP ROLE :"role"')


@pytest.mark.parametrize("text", ["a\\'b", "a\0b"])
def test_a_literal_that_settings_could_turn_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="NUL nor backslash"):
        sql.quote_literal(text)
