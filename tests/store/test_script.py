"""SQL scripts, taken apart into statements."""

from __future__ import annotations

import pytest

from orchestrator.store.script import in_a_transaction, statements


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("", []),
        (";; -- nothing; at all\n/* SELECT; */ ;", []),
        ("SELECT 1; SELECT 2", [(1, "SELECT 1"), (1, "SELECT 2")]),
        ("\n-- why;\nSELECT ';';\n\n  SELECT 2;\n", [(3, "SELECT ';'"), (5, "SELECT 2")]),
        ("SELECT 'it''s; '; SELECT \"a;b\"", [(1, "SELECT 'it''s; '"), (1, 'SELECT "a;b"')]),
        (r"SELECT E'\';'; SELECT 2", [(1, r"SELECT E'\';'"), (1, "SELECT 2")]),
        (
            "DO $x$ BEGIN; $$ ; END $x$; SELECT 2",
            [(1, "DO $x$ BEGIN; $$ ; END $x$"), (1, "SELECT 2")],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
            [
                (1, "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END"),
                (1, "SELECT 3"),
            ],
        ),
    ],
)
def test_statements_end_at_semicolons_that_are_code(
    script: str, found: list[tuple[int, str]]
) -> None:
    assert [(each.line, each.text) for each in statements(script)] == found


def test_what_is_built_concurrently_is_built_at_once_and_care_is_left_out() -> None:
    script = (
        "-- insula: no-transaction\n"
        "DROP INDEX CONCURRENTLY IF EXISTS one; VACUUM flight;\n"
        "CREATE INDEX concurrently one ON flight (day); ANALYZE flight"
    )

    assert in_a_transaction(script) == "DROP INDEX IF EXISTS one;\nCREATE INDEX one ON flight (day)"
