"""Health, status and reload over the API, and what OpenAPI tells of it all."""

from __future__ import annotations

import anyio
import httpx

from orchestrator.model.api import ReloadReport
from orchestrator.model.errors import ConfigError, DatabaseUnavailable
from tests.http.platform import HandMadePlatform
from tests.support.wait import until

JSON = {"Content-Type": "application/json"}


def test_a_daemon_that_works_is_live_and_ready(api: httpx.Client) -> None:
    assert api.get("/health/live").json() == {"status": "live"}
    assert api.get("/health/ready").json() == {"status": "ready"}


def test_a_draining_daemon_is_live_but_not_ready(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.draining = True

    answer = api.get("/health/ready")

    assert api.get("/health/live").status_code == 200
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
    assert answer.headers["Retry-After"] == "5"


def test_a_daemon_without_its_database_is_not_ready(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.refuse = DatabaseUnavailable("the database does not answer", retry_after=0.2)

    answer = api.get("/health/ready")

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert (
        "the database does not answer" in api.get("/v1/status").json()["database_outage"]["error"]
    )


def test_status_shows_the_node(api: httpx.Client) -> None:
    assert api.get("/v1/status").json()["slots"] == {"dormant": 1}


def test_a_reload_answers_with_what_it_did(api: httpx.Client) -> None:
    assert api.post("/v1/reload", headers=JSON).json()["added"] == ["globex"]


def test_a_refused_reload_names_every_problem(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.report = ReloadReport(applied=False, generation=1, problems=["a.toml:1: no", "b"])

    report = api.post("/v1/reload", headers=JSON).json()

    assert (report["applied"], len(report["problems"])) == (False, 2)


def test_a_reload_without_waiting_is_accepted_and_carried_out(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    answer = api.post("/v1/reload", params={"wait": "false"}, headers=JSON)

    assert (answer.status_code, answer.json()["see"]) == (202, "/v1/status")
    anyio.run(until, lambda: platform.reloads == 1)


def test_a_reload_that_fails_while_nobody_waits_harms_nobody(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.refuse = ConfigError(["insula.toml:3: no such key"])

    answer = api.post("/v1/reload", params={"wait": "false"}, headers=JSON)

    assert answer.status_code == 202
    anyio.run(until, lambda: platform.reloads == 1)
    assert api.get("/health/live").status_code == 200


def test_openapi_describes_every_route_and_both_bodies_of_a_start(api: httpx.Client) -> None:
    schema = api.get("/schema/openapi.json").json()

    assert schema["openapi"].startswith("3.1")
    start = schema["paths"]["/v1/tenants/{tenant}/runs"]["post"]
    one, several = start["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert one["required"] == ["workflow"]
    assert several["properties"]["runs"]["items"] == one
    assert {"201", "404", "422", "429", "503"} <= start["responses"].keys()
    parameters = {each["name"]: each for each in start["parameters"]}
    assert parameters.keys() == {"tenant", "Idempotency-Key"}
