"""A page in the user's browser can not drive the API."""

from __future__ import annotations

import httpx
import pytest

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
