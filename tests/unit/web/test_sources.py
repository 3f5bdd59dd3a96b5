"""Where a request names its tenant."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.errors import InvalidRequest, Unauthenticated
from orchestrator.web.jwt import jwt_verifier
from orchestrator.web.sources import Claim, Header, PathSegment, Seen, Source, Subdomain

KEY = "a key of at least sixty-four bytes, so that it is long enough for HS512 too"


def seen(path: str = "/", *headers: tuple[str, str]) -> Seen:
    """Return a request."""
    return Seen(path=path, headers=headers)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("acme.example.com", "acme"),
        ("Acme-Corp.EXAMPLE.com:8443", "acme-corp"),
        ("acme.example.com.", "acme"),
        ("a.b.example.com", "a.b"),  # a name that no tenant has, never `b`
        ("example.com", None),
        ("www.example.com", None),
        ("acme.example.com.evil.org", None),
        ("acmeexample.com", None),
        ("[::1]:80", None),
        ("", None),
    ],
)
@pytest.mark.requirement("T11.sources")
def test_a_subdomain_names_it(host: str, named: str | None) -> None:
    assert Subdomain("example.com").named(seen("/", ("host", host))) == named


@pytest.mark.parametrize(
    ("path", "named"),
    [("/t/acme/x", "acme"), ("/t/acme", "acme"), ("/t/", None), ("/t", None), ("/team/acme", None)],
)
@pytest.mark.requirement("T11.sources")
def test_a_part_of_the_path_names_it(path: str, named: str | None) -> None:
    assert PathSegment("/t").named(seen(path)) == named
    assert PathSegment("").named(seen("/acme/x")) == "acme"


@pytest.mark.requirement("T11.sources")
def test_a_header_names_it_whatever_its_case() -> None:
    assert Header().named(seen("/", ("x-tenant-id", " acme "))) == "acme"
    assert Header("X-Customer").named(seen("/", ("X-CUSTOMER", "acme"))) == "acme"
    assert Header().named(seen("/", ("x-tenant-id", " "))) is None


@pytest.mark.parametrize("source", [Header("Host"), Subdomain("example.com")])
def test_a_header_that_came_twice_is_refused(source: Source) -> None:
    twice = seen("/", ("Host", "acme.example.com"), ("host", "acme.example.com"))
    with pytest.raises(InvalidRequest, match="2 headers Host"):
        source.named(twice)


def bearer(claims: dict[str, Any], *, key: str = KEY, algorithm: str = "HS256") -> Seen:
    """Return a request with a token."""
    token = jwt.encode(claims, key, algorithm=algorithm)
    return seen("/", ("Authorization", f"Bearer {token}"))


def soon() -> int:
    """Return when a token of now expires."""
    return int(time.time()) + 60


@pytest.mark.requirement("T11.sources")
def test_a_claim_of_a_proven_token_names_it() -> None:
    claim = Claim("tenant", jwt_verifier(KEY, algorithms=["HS256"]))
    assert claim.named(bearer({"tenant": "acme", "exp": soon()})) == "acme"
    assert claim.named(bearer({"exp": soon()})) is None
    assert claim.named(seen()) is None
    assert claim.named(seen("/", ("Authorization", "Basic YWNtZTo="))) is None


@pytest.mark.parametrize(
    "request_",
    [
        bearer({"tenant": "acme", "exp": soon()}, key="another key, of somebody else, of 32 bytes"),
        bearer({"tenant": "acme", "exp": 1}),
        bearer({"tenant": "acme"}),
        bearer({"tenant": "acme", "exp": soon()}, key="", algorithm="none"),
        bearer({"tenant": "acme", "exp": soon()}, algorithm="HS512"),
        bearer({"tenant": "acme", "exp": soon(), "aud": "another application"}),
        bearer({"tenant": ["acme"], "exp": soon()}),
        seen("/", ("Authorization", "Bearer ")),
        seen("/", ("Authorization", "bearer not.a.token")),
    ],
)
def test_a_token_that_is_not_good_is_refused_and_says_nothing(request_: Seen) -> None:
    claim = Claim("tenant", jwt_verifier(KEY, algorithms=["HS256"]))
    with pytest.raises(Unauthenticated):
        claim.named(request_)


@pytest.mark.parametrize("algorithms", [[], ["none"], ["HS256", "None"]])
def test_a_verifier_has_to_be_told_how_tokens_are_signed(algorithms: list[str]) -> None:
    with pytest.raises(ValueError, match="say which algorithms"):
        jwt_verifier(KEY, algorithms=algorithms)


@settings(max_examples=50)
@given(st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=3))
def test_whatever_a_request_holds_it_names_something_or_is_refused(
    path: str, headers: list[tuple[str, str]]
) -> None:
    request = seen(path, *headers, ("Host", path), ("Authorization", f"Bearer {path}"))
    verify = jwt_verifier(KEY, algorithms=["HS256"])
    for source in (Header(), Subdomain("example.com"), PathSegment("/"), Claim("tenant", verify)):
        try:
            named = source.named(request)
        except (InvalidRequest, Unauthenticated):
            continue
        assert named is None or named
