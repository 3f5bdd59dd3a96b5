"""Over TCP every route asks for a token, and a tenant's token opens its own tenant alone."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncGenerator
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from orchestrator.http import access, follow
from orchestrator.http.access import RULES, Open
from orchestrator.http.app import build_app
from orchestrator.http.follow import while_valid
from orchestrator.http.refusals import QUIET_SECONDS, Refusals
from orchestrator.model.api import EventView
from orchestrator.model.bearer import new_token
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import Holder, Role
from tests.http.parts.tokens import HandMadeTokens
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served

OWN = "/v1/tenants/acme_corp"
FOR_TENANTS = {Open.TO_ALL, Open.TO_HOLDERS}
FOREIGN = (
    *("globex", "globex-inc", "GLOBEX-INC", "nobody", "no-body", "insula", "Bad Id", "%00"),
    *("acme_corp%20", "acme_corp%00", "ACME_CORP", "acme%5Fcorp%2e", "x" * 5000),
)
"""Names that are there, or not, or can not be; none of them is acme's."""

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def globex(platform: HandMadePlatform) -> None:
    platform.add("globex", aliases=["globex-inc"])


def as_holder(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def routes(platform: HandMadePlatform) -> set[str]:
    """Return every route of the API as the table names it."""
    return {
        f"{method} {route.path_format}"
        for route in build_app(platform.services()).routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"  # made by the framework, and refused as all that has no rule
    }


def test_every_route_has_its_rule_and_no_rule_lacks_its_route(platform: HandMadePlatform) -> None:
    assert routes(platform) == set(RULES)


def test_the_page_says_what_each_route_needs() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/http-api.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| (`[A-Z]+ [^|]+) \|$", page, re.MULTILINE))
    needs = {
        "none": Open.TO_ALL,
        "any token": Open.TO_HOLDERS,
        **{f"`{role}`": role for role in Role},
        "the installation's": Open.TO_OPERATORS,
    }
    told = {
        route.replace("…", "/v1/tenants/{tenant}"): rule
        for title, rule in needs.items()
        for route in re.findall(r"`([^`]+)`", rows[title])
    }

    assert told == RULES


def test_without_a_token_only_health_is_told(served: Served) -> None:
    with httpx.Client(base_url=served.tcp, trust_env=False) as stranger:
        opened = set()
        for rule in (*RULES, "OPTIONS /v1/tenants"):
            method, path = rule.split(" ")
            answer = stranger.request(method, path.format_map(_Any()), headers=JSON)
            assert answer.status_code in {200, 401}, rule
            opened |= {rule} if answer.status_code == 200 else set()

    assert opened == {"GET /health/live", "GET /health/ready"}


class _Any(dict[str, str]):
    def __missing__(self, _: str) -> str:
        return "acme_corp"


NO_TOKENS = [
    [],
    [("Authorization", "Bearer")],
    [("Authorization", "Bearer  {token}")],
    [("Authorization", "{token}")],
    [("Authorization", "Basic {token}")],
    [("Authorization", "Bearer {token} ,")],
    [("Authorization", "Bearer {token}, Bearer {token}")],
    [("Authorization", "Bearer {token}"), ("authorization", "Bearer {token}")],
    [("Authorization", "Bearer {token}"), ("Authorization", "Basic x")],
    [("Authorization", "Bearer {swapped}")],
    [("Authorization", "Bearer {forged}")],
    [("Authorization", "Bearer {other_id}")],
    [("Authorization", "Bearer {revoked}")],
    [("Authorization", "Bearer \u00e4{token}")],
    [("Authorization", "Bearer " + "a" * 30_000)],
    [("Proxy-Authorization", "Bearer {token}")],
]


async def test_what_is_no_valid_token_gets_one_and_the_same_answer(
    served: Served, platform: HandMadePlatform
) -> None:
    token, revoked = platform.tokens.operator, platform.tokens.make(None, Role.ADMIN)
    await platform.tokens.revoke(revoked.split("_")[1], None)
    texts = {
        "token": token,
        "revoked": revoked,
        "swapped": token.swapcase(),
        "forged": new_token()[0],
        "other_id": token.replace(token.split("_")[1], revoked.split("_")[1]),
    }
    answers = {}
    async with httpx.AsyncClient(base_url=served.tcp, trust_env=False) as stranger:
        for headers in NO_TOKENS:
            sent = [(name.encode(), each.format_map(texts).encode()) for name, each in headers]
            answer = await stranger.get("/v1/status", headers=sent)
            challenge = answer.headers.get("www-authenticate")
            answers[str(headers)[:60]] = (answer.status_code, challenge, answer.text)

    (told,) = set(answers.values())
    assert told[:2] == (401, 'Bearer realm="insula"')
    assert '"code":"unauthenticated","detail":"this needs a valid token"' in told[2]


def test_the_scheme_is_written_as_anybody_likes(served: Served, platform: HandMadePlatform) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {platform.tokens.operator}"}
        assert httpx.get(f"{served.tcp}/v1/status", headers=headers, trust_env=False).is_success


def test_what_has_no_rule_is_opened_by_no_token(
    served: Served, platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = as_holder(platform.tokens.operator)
    monkeypatch.delitem(RULES, "GET /v1/status")

    answer = httpx.get(f"{served.tcp}/v1/status", headers=headers, trust_env=False)

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


def test_what_can_not_be_a_token_costs_no_look_into_the_database(
    served: Served, platform: HandMadePlatform
) -> None:
    made = platform.tokens.operator
    for text in ("x" * 72, made[:-1] + ("a" if made[-1] != "a" else "b"), made + "a", made[:-1]):
        httpx.get(f"{served.tcp}/v1/status", headers=as_holder(text), trust_env=False)

    assert platform.tokens.looks == 0


def test_nothing_is_read_of_a_body_before_the_token(served: Served) -> None:
    head = f"POST {OWN}/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as stranger:
        stranger.sendall(head.encode())

        assert stranger.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_head_without_end_is_cut_off(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nAuthorization: Bearer ")
        with pytest.raises(ConnectionError):
            endless.sendall(b"a" * 2**26)


@pytest.mark.usefixtures("globex")
def test_a_role_opens_what_the_table_says_and_only_at_home(
    served: Served, platform: HandMadePlatform
) -> None:
    holders = {role: as_holder(platform.tokens.make("acme_corp", role)) for role in Role}
    with httpx.Client(base_url=served.tcp, trust_env=False, headers=JSON) as client:
        for role, (rule, needs) in product(Role, RULES.items()):
            (method, path), headers = rule.split(" "), holders[role]
            opens = role.includes(needs) if isinstance(needs, Role) else needs in FOR_TENANTS
            own = client.request(method, path.format_map(_Any()), headers=headers)
            assert (own.status_code == 403) is not opens, (role, rule, own.text)
            if "{tenant}" in path and opens:
                path = path.replace("{tenant}", "globex", 1)
                assert client.request(method, path, headers=headers).status_code == 403, rule


@pytest.mark.parametrize(
    ("route", "needs", "hint"),
    [
        (f"POST {OWN}/tokens", "with the role admin", "insula tenant token acme_corp --role admin"),
        (f"POST {OWN}/runs", "with the role write", "insula tenant token acme_corp --role write"),
        ("GET /v1/status", "of the whole installation", "insula token create"),
        ("GET /v1/tenants/globex", "of the tenant that is named", ""),
    ],
)
def test_a_refusal_names_what_the_route_needs_and_what_the_token_has(
    served: Served, platform: HandMadePlatform, route: str, needs: str, hint: str
) -> None:
    headers = as_holder(platform.tokens.make("acme_corp", Role.READ)) | JSON
    method, path = route.split(" ")

    answer = httpx.request(method, f"{served.tcp}{path}", headers=headers, trust_env=False)

    told = answer.json()
    assert (answer.status_code, told["code"]) == (403, "not_allowed")
    has = "this one has the role read of tenant 'acme_corp'"
    assert told["detail"] == f"that needs a token {needs}; {has}"
    assert hint in told["hint"]


@pytest.mark.usefixtures("globex")
def test_nobody_learns_whether_another_tenant_is_there(
    served: Served, platform: HandMadePlatform
) -> None:
    headers = as_holder(platform.tokens.make("acme_corp", Role.ADMIN)) | JSON
    with httpx.Client(base_url=served.tcp, trust_env=False, headers=headers) as holder:
        answers = [
            holder.request(method, f"/v1/tenants/{name}{rest}", content='{"workflow": "quick"}')
            for name in FOREIGN
            for method, rest in (("GET", ""), ("GET", "/usage"), ("POST", "/runs"))
        ]

    (told,) = {(each.status_code, each.text) for each in answers}
    assert told[0] == 403
    assert platform.started == []


def test_a_path_is_taken_as_it_is_written(served: Served, platform: HandMadePlatform) -> None:
    token = platform.tokens.make("acme_corp", Role.ADMIN)
    for path in ("globex/../acme_corp", "acme_corp/../globex", "acme_corp/..;/x"):
        head = f"GET /v1/tenants/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close"
        with socket.create_connection(("127.0.0.1", served.port), timeout=30) as raw:
            raw.sendall(f"{head}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            assert raw.recv(100).split()[1] in {b"403", b"404"}, path


def test_its_own_aliases_lead_home(served: Served, platform: HandMadePlatform) -> None:
    headers = as_holder(platform.tokens.make("acme_corp", Role.READ))

    for name in ("acme_corp", "acme-corp", "ACME-Corp"):
        answer = httpx.get(f"{served.tcp}/v1/tenants/{name}", headers=headers, trust_env=False)
        assert answer.json()["id"] == "acme_corp"


def test_an_alias_that_goes_to_another_while_the_body_comes_leads_home_still(
    served: Served, platform: HandMadePlatform
) -> None:
    token = platform.tokens.make("acme_corp", Role.WRITE)
    body = b'{"workflow": "slow"}'
    head = head_of("/v1/tenants/acme-corp/runs", token, length=len(body))
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
        slow.sendall(head + body[:5])
        _until_looked(served, platform)
        platform.views.clear()
        platform.add("globex", aliases=["acme-corp"])
        platform.add("acme_corp")
        slow.sendall(body[5:])
        answer = slow.recv(1000)

    assert b" 201 " in answer
    assert b"/v1/tenants/acme_corp/runs/" in answer


def test_a_token_that_is_revoked_while_the_body_comes_makes_no_other(
    served: Served, platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SLOW_SECONDS", 0.0)
    token = platform.tokens.make("acme_corp", Role.ADMIN)
    head = head_of(f"{OWN}/tokens", token, length=2)
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
        slow.sendall(head + b"{")
        _until_looked(served, platform)
        platform.tokens.void(token)
        kept = len(platform.tokens.kept)
        slow.sendall(b"}")
        answer = slow.recv(1000)

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert len(platform.tokens.kept) == kept


def test_an_upload_ends_when_its_token_is_revoked(
    served: Served, platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SLOW_SECONDS", 0.0)
    token = platform.tokens.make("acme_corp", Role.ADMIN)
    head = head_of(f"{OWN}/import", token, length=2**40, kind="application/x-tar")
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as slow:
        slow.sendall(head + b"a")
        _until_looked(served, platform)
        platform.tokens.void(token)
        slow.sendall(b"a")

        assert slow.recv(1000).startswith(b"HTTP/1.1 401 ")


def head_of(path: str, token: str, *, length: int, kind: str = "application/json") -> bytes:
    """Return the head of a POST, whose body is to come."""
    lines = [
        f"POST {path} HTTP/1.1",
        *("Host: localhost", "Connection: close", f"Authorization: Bearer {token}"),
        *(f"Content-Type: {kind}", f"Content-Length: {length}", "", ""),
    ]
    return "\r\n".join(lines).encode()


def _until_looked(served: Served, platform: HandMadePlatform) -> None:
    """Return when the request before ours on this loop has got past the guard."""
    while platform.tokens.looks == 0:
        httpx.get(f"{served.tcp}/health/live", trust_env=False)


@pytest.mark.usefixtures("globex")
def test_a_tenants_token_lists_its_own_tenant(
    served: Served, platform: HandMadePlatform, web: httpx.Client
) -> None:
    headers = as_holder(platform.tokens.make("acme_corp", Role.ADMIN))

    seen = httpx.get(f"{served.tcp}/v1/tenants", headers=headers, trust_env=False).json()

    assert [each["id"] for each in seen["tenants"]] == ["acme_corp"]
    assert len(web.get("/v1/tenants").json()["tenants"]) == 2


def test_a_token_of_an_archived_tenant_opens_nothing_until_it_is_back(
    served: Served, platform: HandMadePlatform
) -> None:
    headers = as_holder(platform.tokens.make("globex", Role.ADMIN)) | JSON
    platform.put_away.add("globex")
    answers = {}
    with httpx.Client(base_url=served.tcp, trust_env=False, headers=headers) as holder:
        for rule in RULES:
            method, path = rule.split(" ")
            asked = path.replace("{tenant}", "globex").format_map(_Any())
            answer = holder.request(method, asked, content='{"workflow": "quick"}')
            answers[rule] = answer.status_code
        platform.put_away.clear()
        platform.add("globex")
        back = holder.get("/v1/tenants/globex").status_code

    told: dict[Open | Role, int] = {Open.TO_ALL: 200, Open.TO_OPERATORS: 403}
    assert answers == {rule: told.get(needs, 409) for rule, needs in RULES.items()}
    assert platform.used == ["globex"], "who starts a run brings it back, if that is wanted"
    assert back == 200


def test_the_tokens_of_an_archived_tenant_are_listed_and_revoked_by_who_runs_the_place(
    platform: HandMadePlatform, web: httpx.Client
) -> None:
    token = platform.tokens.make("globex", Role.ADMIN).split("_")[1]
    platform.put_away.add("globex")

    (listed,) = web.get("/v1/tenants/globex/tokens").json()["tokens"]
    revoked = web.delete(f"/v1/tenants/globex/tokens/{token}").json()

    assert (listed["id"], listed["revoked_at"]) == (token, None)
    assert (revoked["id"], revoked["revoked_at"] is None) == (token, False)
    assert web.get("/v1/tenants/nobody/tokens").status_code == 404


def test_a_line_at_once_and_then_one_a_minute_tell_of_strangers() -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    stranger: Any = httpx.Request("GET", "http://x")
    stranger.client = None
    with capture_logs() as lines:
        for _ in range(1000):
            refusals.count(stranger)
        now += QUIET_SECONDS
        refusals.count(stranger)

    assert [line["count"] for line in lines] == [1, 1000]


async def test_a_revoked_token_ends_a_stream_that_it_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.0)
    tokens = HandMadeTokens()
    holder = Holder(tokens.make("acme_corp", Role.READ).split("_")[1], None, Role.READ)
    told = []

    async def silences() -> AsyncGenerator[EventView | None]:
        while True:
            yield None

    async for each in while_valid(silences(), tokens, holder):
        told.append(each)
        if len(told) == 3:
            await tokens.revoke(holder.token, TenantId("acme_corp"))

    assert len(told) == 3
