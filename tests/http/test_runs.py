"""Starting, listing and awaiting runs over the API."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.http.platform import HandMadePlatform

RUNS = "/v1/tenants/acme_corp/runs"


def start(api: httpx.Client, **body: Any) -> httpx.Response:
    return api.post(RUNS, json={"workflow": "slow", **body})


@pytest.mark.requirement("R8.http")
def test_a_started_run_is_told_by_id_and_place(api: httpx.Client) -> None:
    answer = api.post(RUNS, json={"workflow": "quick", "input": {"month": 1}})

    assert answer.status_code == 201
    assert answer.json()["state"] == "queued"
    view = api.get(answer.headers["Location"]).json()
    assert view["id"] == answer.json()["id"]
    assert view["context"] == {"month": 1, "flights": 3}


@pytest.mark.requirement("R8.key")
def test_the_same_key_gives_the_same_run_with_status_200(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "2013-01"}

    first = api.post(RUNS, json={"workflow": "slow"}, headers=headers)
    second = api.post(RUNS, json={"workflow": "slow"}, headers=headers)
    third = start(api, key="2013-01")

    assert [first.status_code, second.status_code, third.status_code] == [201, 200, 200]
    assert first.json()["id"] == second.json()["id"] == third.json()["id"]
    assert second.json()["known"]


def test_several_runs_are_accepted_in_their_order(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    answer = api.post(RUNS, json={"runs": [{"workflow": "slow", "key": k} for k in "abc"]})

    assert answer.status_code == 201
    runs = platform.runs[platform.resolve("acme_corp")]
    assert [runs[UUID(each["id"])].key for each in answer.json()["runs"]] == ["a", "b", "c"]


def test_a_tenant_is_found_by_its_alias(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants/ACME-Corp/runs", json={"workflow": "slow"})

    assert answer.headers["Location"].startswith("/v1/tenants/acme_corp/runs/")


def test_every_error_of_a_body_is_named_with_its_path(api: httpx.Client) -> None:
    body = {"runs": [{"workflow": 1, "priority": "high"}, {"inputs": {}}], "dry": True}

    answer = api.post(RUNS, json=body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "request_invalid"
    assert answer.json()["data"]["problems"] == [
        "`$.runs[0].workflow`: Expected `str`, got `int`",
        "`$.runs[0].priority`: Expected `int`, got `str`",
        "`$.runs[1].workflow`: it is required",
        "`$.runs[1].inputs`: there is no such field; did you mean `input`?",
        "`$.dry`: there is no such field",
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the body is empty"),
        (b"{", "the body is not JSON"),
        (b'{"workflow": "\xff"}', "the body is not JSON"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'["slow"]', "`$`: Expected `object`, got `array`"),
        (b"null", "`$`: Expected `object`, got `null`"),
        (b'{"runs": []}', "`$.runs`: Expected `array` of length >= 1"),
    ],
)
def test_a_body_that_can_not_be_read_is_bad_input(
    api: httpx.Client, content: bytes, says: str
) -> None:
    answer = api.post(RUNS, content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_body_beyond_the_bound_is_refused_whole(api: httpx.Client) -> None:
    answer = start(api, input={"text": "x" * (16 * 1024 * 1024)})

    assert answer.status_code == 413
    assert answer.json()["code"] == "request_invalid"
    assert answer.json()["detail"] == "the body is larger than 16 MiB"
    assert "reference" in answer.json()["hint"]


def test_a_filter_that_does_not_fit_is_named_as_it_was_sent(api: httpx.Client) -> None:
    answer = api.get(RUNS, params={"state": "bogus", "limit": 0})

    assert answer.status_code == 422
    assert "in_states" not in answer.text
    assert any(each.startswith("`state`") for each in answer.json()["data"]["problems"])


def test_a_key_for_several_runs_is_refused(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k"}

    several = api.post(RUNS, json={"runs": [{"workflow": "slow"}]}, headers=headers)
    other = api.post(RUNS, json={"workflow": "slow", "key": "other"}, headers=headers)

    assert several.status_code == other.status_code == 422


def test_runs_are_listed_newest_first_and_page_by_page(api: httpx.Client) -> None:
    started = [start(api).json()["id"] for _ in range(5)]

    first = api.get(RUNS, params={"limit": 3}).json()
    second = api.get(RUNS, params={"limit": 3, "cursor": first["cursor"]}).json()

    assert [run["id"] for run in first["runs"] + second["runs"]] == sorted(started, reverse=True)
    assert second["cursor"] is None


def test_runs_are_filtered(api: httpx.Client) -> None:
    start(api)
    failed = api.post(RUNS, json={"workflow": "broken"}).json()["id"]
    future = datetime.now(UTC) + timedelta(hours=1)

    by_state = api.get(RUNS, params={"state": "failed"}).json()["runs"]
    by_workflow = api.get(RUNS, params={"workflow": "broken"}).json()["runs"]
    later = api.get(RUNS, params={"since": future.isoformat()}).json()["runs"]

    assert [run["id"] for run in by_state] == [run["id"] for run in by_workflow] == [failed]
    assert later == []


def test_every_wrong_parameter_is_named(api: httpx.Client) -> None:
    wrong = api.get(RUNS, params={"state": "done", "limit": 0, "cursor": "x", "workflow": "a\0"})
    unknown = api.get(RUNS, params={"stat": "failed"})
    local = api.get(RUNS, params={"since": "2026-01-01T00:00:00"})

    assert wrong.status_code == unknown.status_code == local.status_code == 422
    assert len(wrong.json()["data"]["problems"]) == 4
    assert "did you mean `state`?" in unknown.json()["detail"]
    assert "offset" in local.json()["detail"]


def test_a_run_is_awaited_until_it_has_finished(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api).json()["id"]
    threading.Timer(0.1, platform.finish, ["acme_corp", UUID(run)], {"output": 7}).start()

    view = api.get(f"{RUNS}/{run}", params={"wait": 30}).json()

    assert (view["state"], view["output"]) == ("succeeded", 7)
    assert platform.looks < 20


def test_a_wait_ends_with_its_time(api: httpx.Client) -> None:
    run = start(api).json()["id"]
    begin = time.monotonic()

    view = api.get(f"{RUNS}/{run}", params={"wait": 0.2}).json()

    assert view["state"] == "running"
    assert 0.2 <= time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/tenants/nobody/runs", 404, "tenant_not_found"),
        ("/v1/tenants/Acme%20Corp/runs", 422, "tenant_id_invalid"),
        (f"{RUNS}/00000000-0000-0000-0000-000000000000", 404, "run_not_found"),
        (f"{RUNS}/last", 422, "request_invalid"),
        (f"{RUNS}/00000000-0000-0000-0000-000000000000?wait=600", 422, "request_invalid"),
        ("/v1/nothing", 404, "request_invalid"),
        ("/schema/nothing.json", 404, "request_invalid"),
    ],
)
def test_what_is_not_there_has_a_code(api: httpx.Client, path: str, status: int, code: str) -> None:
    answer = api.get(path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
