"""Tenant ids, aliases, the names derived from them, and run ids."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.errors import InvalidTenantId
from orchestrator.model.ids import (
    alias_problems,
    app_role,
    engine_role,
    new_run_id,
    parse_tenant_id,
    quote_identifier,
    schema_of,
    tenant_id_problems,
)

VALID = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,53}")
RESERVED = {"public", "information_schema", "pg_catalog", "pg_toast", "pg_temp", "insula"}


@pytest.mark.parametrize("text", ["a", "acme_corp", "airline_9e", "a" * 54, "pg", "publicity"])
def test_a_valid_id_is_taken_as_it_is(text: str) -> None:
    assert parse_tenant_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "9a", "_a", "pg_a", "a-b", "Acme", "a b", "a.b", "a" * 55, "ä"]
)
def test_an_invalid_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidTenantId, match="can not be a tenant id"):
        parse_tenant_id(text)


@pytest.mark.parametrize("text", sorted(RESERVED))
def test_a_reserved_name_is_refused(text: str) -> None:
    assert "the name is reserved" in tenant_id_problems(text)


@pytest.mark.requirement("T1.reasons")
def test_all_reasons_come_at_once() -> None:
    with pytest.raises(InvalidTenantId) as caught:
        parse_tenant_id("_Über-" + "x" * 60 + "!")

    assert caught.value.reasons == [
        "it has characters outside ASCII",
        "it has upper-case letters; ids are lower case, an alias may be mixed",
        "it has a hyphen; ids use underscores, an alias may have hyphens",
        "it starts with an underscore",
        "it has characters other than a-z, 0-9 and underscore",
        "it is 68 bytes long; at most 54 fit the role",
    ]


def test_each_reason_is_told_by_itself() -> None:
    for text, reason in {
        "": "it is empty",
        "9a": "it does not start with a letter",
        "_a": "it starts with an underscore",
        "pg_a": "it starts with 'pg_', which PostgreSQL keeps for itself",
        "public": "the name is reserved",
    }.items():
        assert tenant_id_problems(text) == [reason]


def test_a_longer_role_prefix_leaves_less_for_the_id() -> None:
    assert tenant_id_problems("a" * 50, role_prefix="r" * 20) == [
        "it is 50 bytes long; at most 40 fit the role"
    ]


@given(st.one_of(st.text(max_size=60), st.from_regex(VALID, fullmatch=True)))
def test_an_id_is_taken_exactly_when_it_has_the_form_and_is_not_reserved(text: str) -> None:
    taken = not tenant_id_problems(text)

    assert taken == (VALID.fullmatch(text) is not None and text not in RESERVED)


@given(st.from_regex(VALID, fullmatch=True).filter(lambda text: text not in RESERVED))
@pytest.mark.requirement("T1.names")
def test_the_names_derived_from_an_id_fit_and_need_no_escape(text: str) -> None:
    tenant = parse_tenant_id(text)

    for name in (schema_of(tenant), engine_role(tenant), app_role(tenant)):
        assert quote_identifier(name) == f'"{name}"'


@pytest.mark.parametrize("text", ["acme-corp", "Acme", "9E", "AA", "a_b"])
def test_an_alias_may_have_hyphens_digits_and_upper_case(text: str) -> None:
    assert alias_problems(text) == []


@pytest.mark.parametrize("text", ["", "a b", "-a", "ä", "a" * 64, "Public", "INSULA", "a\n"])
def test_an_invalid_alias_is_refused(text: str) -> None:
    assert alias_problems(text) != []


@given(st.text(min_size=1, max_size=15).filter(lambda text: "\0" not in text))
def test_a_quoted_identifier_holds_the_name_and_can_not_be_left(name: str) -> None:
    quoted = quote_identifier(name)

    assert quoted[0] == quoted[-1] == '"'
    assert '"' not in quoted[1:-1].replace('""', "")
    assert quoted[1:-1].replace('""', '"') == name


@pytest.mark.parametrize("name", ["", "a\0b", "a" * 64, "ä" * 32])
def test_a_name_that_postgresql_would_cut_or_could_not_store_is_not_quoted(name: str) -> None:
    with pytest.raises(ValueError, match="not an identifier that PostgreSQL can hold"):
        quote_identifier(name)


def test_a_run_id_is_a_uuid_of_version_7_with_the_time_first() -> None:
    before = time.time_ns() // 1_000_000
    made = new_run_id()
    after = time.time_ns() // 1_000_000

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= after


def test_run_ids_are_unique() -> None:
    assert len({new_run_id() for _ in range(10_000)}) == 10_000
