"""A page in the user's browser can not drive the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from orchestrator.http.app import build_app
from orchestrator.settings.http import HttpSection
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served

RUNS = "/v1/tenants/acme_corp/runs"


def test_a_program_on_this_machine_is_served_over_tcp(web: httpx.Client, served: Served) -> None:
    assert web.post(RUNS, json={"workflow": "slow"}).status_code == 201
    by_name = web.get("/health/live", headers={"Host": f"localhost:{served.port}"})
    assert by_name.status_code == 200
    bracketed = web.get("/health/live", headers={"Host": f"[::1]:{served.port}"})
    assert bracketed.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8088", "127.0.0.1.evil.example", "10.0.0.1", "[", ""]
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(web: httpx.Client, host: str) -> None:
    answer = web.get("/v1/tenants", headers={"Host": host})

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:3000", "null"])
def test_a_page_of_another_origin_is_refused(web: httpx.Client, origin: str) -> None:
    answer = web.post(RUNS, json={"workflow": "slow"}, headers={"Origin": origin})

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_page_of_another_site_only_shows_is_refused(web: httpx.Client, site: str) -> None:
    answer = web.get("/v1/tenants", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"})

    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_what_the_user_typed_or_our_own_page_asks_for_is_served(
    web: httpx.Client, site: str
) -> None:
    assert web.get("/v1/tenants", headers={"Sec-Fetch-Site": site}).status_code == 200


def behind(platform: HandMadePlatform, section: HttpSection) -> httpx.ASGITransport:
    """Return the way into an API with these settings, as over TCP."""
    app: Any = build_app(platform.services(), section)
    return httpx.ASGITransport(app)


async def test_behind_a_proxy_our_names_and_its_https_are_ours(
    served: Served, platform: HandMadePlatform
) -> None:
    section = HttpSection(hosts=["insula.example.com"], behind_tls_proxy=True)
    transport = behind(platform, section)
    told = {}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:80", headers=served.operator
    ) as proxy:
        for host in ("insula.example.com", "INSULA.example.com:443", "evil.example", "127.0.0.1"):
            headers = {"Host": host, "Origin": f"https://{host}"}
            told[host] = (await proxy.get("/v1/tenants", headers=headers)).status_code
        other = {"Host": "insula.example.com", "Origin": "https://example.com"}
        told["a page elsewhere"] = (await proxy.get("/v1/tenants", headers=other)).status_code

    assert told == {
        "insula.example.com": 200,
        "INSULA.example.com:443": 200,
        "evil.example": 403,
        "127.0.0.1": 200,
        "a page elsewhere": 403,
    }


async def test_without_tokens_required_every_user_of_the_machine_is_served(
    platform: HandMadePlatform,
) -> None:
    transport = behind(platform, HttpSection(require_token=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:80") as user:
        assert (await user.get("/v1/tenants")).status_code == 200


async def test_of_two_names_of_a_host_none_is_believed(platform: HandMadePlatform) -> None:
    transport = behind(platform, HttpSection(require_token=False))
    names = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:80") as user:
        answers = [await user.get("/v1/tenants", headers=sent) for sent in (names, names[::-1])]

    assert [each.status_code for each in answers] == [403, 403]
    assert "127.0.0.1, evil.example" in answers[0].json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/tenants/",
        "/v1/tenants//runs",
        "/v1/tenants/acme_corp%2Fruns",
        "/v1/tenants/acme_corp%2fruns",
        "//v1/tenants",
        "/v1/tenants/acme_corp/runs/",
    ],
)
def test_a_path_that_the_router_would_read_otherwise_is_not_found(
    api: httpx.Client, path: str
) -> None:
    answer = api.get(path) if not path.startswith("//") else api.get(f"http://localhost{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "request_invalid")


@pytest.mark.parametrize("name", ["%2e%2e", "%2E", "%00", "a%0ab", "a%20b", "acme_corp%3F"])
def test_an_id_that_none_can_be_is_refused_whatever_it_encodes(
    api: httpx.Client, name: str
) -> None:
    answer = api.get(f"/v1/tenants/{name}")

    assert answer.status_code in {404, 422}
    assert answer.json()["code"] in {"tenant_id_invalid", "tenant_not_found"}


def test_our_own_origin_is_served(web: httpx.Client, served: Served) -> None:
    answer = web.get("/v1/tenants", headers={"Origin": served.tcp})

    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
@pytest.mark.parametrize("path", [RUNS, "/v1/reload", "/v1/tenants"])
def test_a_post_that_is_not_json_is_refused(web: httpx.Client, path: str, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}

    answer = web.post(path, content=b'{"workflow": "slow"}', headers=headers)

    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["hint"]


def test_the_control_socket_asks_for_no_host(api: httpx.Client) -> None:
    answer = api.get("/v1/tenants", headers={"Host": "whatever", "Origin": "http://page"})

    assert answer.status_code == 200
