"""An issuer that publishes its keys, and what becomes of requests when it hangs or is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import httpx
import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from orchestrator.client.client import Client
from orchestrator.model.errors import IssuerUnavailable, Unauthenticated
from orchestrator.web import Claim, Seen, TenantMiddleware, TenantResolver
from orchestrator.web.issuer import (
    FRESH_SECONDS,
    LOOK_AGAIN_SECONDS,
    STALE_SECONDS,
    IssuerKeys,
    KeptKeys,
)
from orchestrator.web.jwt import jwt_verifier
from tests.http.serving import Served
from tests.support.wait import until
from tests.web.test_asgi import app, visiting

SIGNED_WITH = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """An issuer on this machine: `asked` counts, `answers` lets it answer, `keys` are its own."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self.keys = ["first"]
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                issuer.answers.wait(20)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(issuer.published())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/jwks"

    def published(self) -> bytes:
        """Return the key set: one key under several names."""
        key = ECAlgorithm.to_jwk(SIGNED_WITH.public_key(), as_dict=True)
        return msgspec.json.encode({"keys": [{**key, "kid": each} for each in self.keys]})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.answers.set()
        made.server.shutdown()
        thread.join()
        made.server.server_close()


class HandTime:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def token(kid: str | None = "first", **claims: Any) -> str:
    """Return a token of the issuer's."""
    named = {} if kid is None else {"kid": kid}
    claims = {"tenant": "acme_corp", "exp": int(time.time()) + 60, **claims}
    return jwt.encode(claims, SIGNED_WITH, algorithm="ES256", headers=named)


def asking(issuer: Issuer, clock: HandTime, *, timeout: float = 5.0) -> TenantResolver:
    """Return a resolver that goes by the issuer's tokens."""
    keys = IssuerKeys(issuer.url, timeout=timeout, kept=KeptKeys(clock))
    claim = Claim("tenant", jwt_verifier(keys, algorithms=["ES256"]))
    return TenantResolver([claim], exempt=["/health"])


def seen(text: str) -> Seen:
    """Return a request with a token."""
    return Seen("/", [("Authorization", f"Bearer {text}")])


def named_now(resolver: TenantResolver, text: str) -> list[str]:
    """Return whom a synchronous application serves."""
    resolver.prepare_now(seen(text))
    return [*resolver.named(seen(text)).values()]


async def test_while_the_issuer_hangs_the_loop_goes_on_and_all_wait_for_one_answer(
    daemon: Served, issuer: Issuer
) -> None:
    issuer.answers.clear()
    answers: list[httpx.Response] = []
    headers = {"Authorization": f"Bearer {token()}"}
    async with (
        Client(daemon.unix) as client,
        visiting(TenantMiddleware(app, asking(issuer, HandTime()), client)) as visitor,
        anyio.create_task_group() as group,
    ):

        async def visit() -> None:
            answers.append(await visitor.get("/", headers=headers))

        for _ in range(20):
            group.start_soon(visit)
        await until(lambda: issuer.asked == 1, what="somebody asks the issuer")
        assert (await visitor.get("/health")).text == "nobody"
        assert answers == []
        issuer.answers.set()

    assert {each.text for each in answers} == {"acme_corp acme_corp by claim tenant"}
    assert (len(answers), issuer.asked) == (20, 1)


async def test_without_any_key_who_waits_too_long_is_asked_to_come_again(
    daemon: Served, issuer: Issuer
) -> None:
    issuer.answers.clear()
    clock = HandTime()
    headers = {"Authorization": f"Bearer {token()}"}
    async with (
        Client(daemon.unix) as client,
        visiting(TenantMiddleware(app, asking(issuer, clock, timeout=0.1), client)) as visitor,
    ):
        refused = [await visitor.get("/", headers=headers) for _ in range(3)]
        issuer.answers.set()
        served = await until_served(visitor, headers, clock)

    assert {(each.status_code, each.json()["code"]) for each in refused} == {
        (503, "issuer_unavailable")
    }
    assert refused[0].headers["retry-after"] == "5"
    assert issuer.url not in refused[0].text
    assert served.status_code == 200


async def until_served(
    visitor: httpx.AsyncClient, headers: dict[str, str], clock: HandTime
) -> httpx.Response:
    """Return the first answer that is none of an issuer that is away."""
    answers = []

    async def visit() -> bool:
        clock.now += LOOK_AGAIN_SECONDS
        answers.append(await visitor.get("/", headers=headers))
        return answers[-1].status_code != 503

    await until(visit, what="the issuer is back")
    return answers[-1]


async def test_old_keys_serve_while_the_issuer_hangs_but_not_for_ever(issuer: Issuer) -> None:
    clock = HandTime()
    resolver = asking(issuer, clock)
    named_now(resolver, token())
    issuer.answers.clear()
    clock.now += FRESH_SECONDS
    for _ in range(3):
        assert named_now(resolver, token()) == ["acme_corp"]
    await until(lambda: issuer.asked == 2, what="they are read again beside the requests")
    clock.now += STALE_SECONDS - FRESH_SECONDS

    with pytest.raises(IssuerUnavailable, match="has not answered for long"):
        named_now(resolver, token())
    assert issuer.asked == 2


def test_a_key_that_the_issuer_adds_is_found_and_a_made_up_one_asks_once(issuer: Issuer) -> None:
    clock = HandTime()
    resolver = asking(issuer, clock)
    named_now(resolver, token())
    issuer.keys.append("second")
    for kid in ("second", "third", "third", None):
        with pytest.raises(Unauthenticated):
            named_now(resolver, token(kid))
    assert issuer.asked == 1, "it was read just now"

    clock.now += LOOK_AGAIN_SECONDS
    assert named_now(resolver, token("second")) == ["acme_corp"]
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            named_now(resolver, token("third"))
    assert issuer.asked == 2


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"keys": []}', b"\xff", b" " * 2**21])
def test_what_is_no_key_set_is_an_issuer_that_is_away(
    issuer: Issuer, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "published", lambda: answer)
    with pytest.raises(IssuerUnavailable):
        named_now(asking(issuer, HandTime()), token())


@pytest.mark.parametrize("url", ["http://id.example.com/jwks", "ftp://id.example.com/jwks", "jwks"])
def test_keys_do_not_come_from_where_anybody_may_answer(url: str) -> None:
    with pytest.raises(ValueError, match="come over https"):
        IssuerKeys(url)
