"""The error tree: stable codes, and errors that survive the way over the wire."""

from __future__ import annotations

import re

import msgspec
import pytest

from orchestrator.model import errors
from orchestrator.model.errors import (
    ConfigError,
    InsulaError,
    InvalidTenantId,
    QuotaExceeded,
    TenantNotFound,
    TenantSuspended,
    Unavailable,
    every_error,
    revive,
)


def tree(root: type[InsulaError]) -> list[type[InsulaError]]:
    """Return `root` and every class below it."""
    return [root, *(each for child in root.__subclasses__() for each in tree(child))]


TREE = sorted(
    {each for each in tree(InsulaError) if each.__module__ == errors.__name__},
    key=lambda each: each.__name__,
)

MADE = {
    ConfigError: ConfigError(["a.toml:1: x", "a.toml:2: y"], hint="edit it"),
    InvalidTenantId: InvalidTenantId("Acme", ["it has upper-case letters"]),
    TenantNotFound: TenantNotFound("acme"),
    TenantSuspended: TenantSuspended("acme"),
    errors.LeaseHeldElsewhere: errors.LeaseHeldElsewhere("acme", "it is served by node 'a'"),
    errors.SecretNotFound: errors.SecretNotFound("acme", "api_key"),
    errors.TenantInUse: errors.TenantInUse("acme", 3),
    errors.CopyKept: errors.CopyKept("acme", "eu"),
    errors.NoCopyKept: errors.NoCopyKept("acme"),
    errors.TenantArchived: errors.TenantArchived("acme"),
    errors.Unauthenticated: errors.Unauthenticated(),
    errors.KeyErased: errors.KeyErased("acme", "the key is gone", hint="restore without it"),
    errors.TooManyTokens: errors.TooManyTokens("acme", 1000),
    errors.TokenNotFound: errors.TokenNotFound("0123456789abcdef"),
    errors.TenantNotNamed: errors.TenantNotNamed(["header X-Tenant-ID"]),
    errors.TenantConflict: errors.TenantConflict(["header X-Tenant-ID", "subdomain"]),
    errors.TenantHeld: errors.TenantHeld("acme", "rename"),
    errors.AdoptionRefused: errors.AdoptionRefused("acme", "legacy", ["there is no such schema"]),
    QuotaExceeded: QuotaExceeded("acme", limit="max_queue_length", allowed=3, retry_after=2.5),
}


def make(kind: type[InsulaError]) -> InsulaError:
    """Return an error of that class."""
    if kind in MADE:
        return MADE[kind]
    if issubclass(kind, errors.TenantError):
        return kind("acme", "no luck", hint="try this", data={"more": 1})
    if issubclass(kind, Unavailable):
        return kind("no luck", hint="try this", retry_after=7.0)
    return kind("no luck", hint="try this", data={"more": 1})


def test_each_class_has_a_code_of_its_own() -> None:
    assert set(every_error().values()) >= set(TREE)
    assert all(re.fullmatch("[a-z_]+", each.code) for each in TREE)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_wire(kind: type[InsulaError]) -> None:
    sent = make(kind)
    wire = msgspec.json.encode((sent.code, str(sent), sent.hint, sent.data))

    received = revive(*msgspec.json.decode(wire))

    assert type(received) is kind
    assert str(received) == str(sent)
    assert vars(received).items() >= vars(sent).items()


def test_an_unknown_code_becomes_a_plain_error() -> None:
    error = revive("from_the_future", "sentence", "hint", {"not an identifier": 1})

    assert type(error) is InsulaError
    assert (str(error), error.hint, error.data) == ("sentence", "hint", {"not an identifier": 1})


def test_data_from_the_wire_never_replaces_what_an_error_is() -> None:
    error = revive("tenant_busy", "sentence", "hint", {"hint": "other", "data": 1, "args": ["x"]})

    assert (str(error), error.hint) == ("sentence", "hint")
    assert error.data == {"hint": "other", "data": 1, "args": ["x"]}


def test_an_unavailable_error_always_says_when_to_try_again() -> None:
    error = revive("tenant_busy", "sentence", "", {})

    assert isinstance(error, Unavailable)
    assert error.retry_after > 0


def test_the_drawing_of_the_tree_is_complete() -> None:
    drawing = errors.__doc__ or ""

    assert {each.__name__ for each in TREE} <= set(re.findall(r"\w+", drawing))
