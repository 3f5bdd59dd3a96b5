"""Doing things to runs and tenants over the API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from orchestrator.model import errors
from tests.http.platform import HandMadePlatform

TENANT = "/v1/tenants/acme_corp"
RUNS = f"{TENANT}/runs"
JSON = {"Content-Type": "application/json"}
NOBODY = str(UUID(int=0))


def start(api: httpx.Client, workflow: str = "slow") -> str:
    answer: str = api.post(RUNS, json={"workflow": workflow}).json()["id"]
    return answer


@pytest.mark.parametrize(
    ("verb", "state"), [("cancel", "cancelled"), ("pause", "paused"), ("resume", "running")]
)
def test_a_verb_answers_with_the_state_it_led_to(
    api: httpx.Client, platform: HandMadePlatform, verb: str, state: str
) -> None:
    run = start(api)

    answer = api.post(f"{RUNS}/{run}/{verb}", json={"reason": "why not"})

    assert (answer.status_code, answer.json()) == (200, {"id": run, "state": state})
    assert platform.asked == [(verb, "why not")]


def test_a_verb_needs_no_body(api: httpx.Client, platform: HandMadePlatform) -> None:
    run = start(api, "broken")

    answer = api.post(f"{RUNS}/{run}/retry", headers=JSON)

    assert answer.json()["state"] == "running"
    assert platform.asked == [("retry", "")]


def test_what_the_state_forbids_is_a_conflict(api: httpx.Client) -> None:
    answer = api.post(f"{RUNS}/{start(api, 'quick')}/cancel", headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (409, "run_conflict")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"{NOBODY}/cancel", {}, 404),
        (f"{NOBODY}/repeat", {}, 404),
        (f"{NOBODY}/signals/go", {}, 404),
        ("last/cancel", {}, 422),
        (f"{NOBODY}/destroy", {}, 422),
        (f"{NOBODY}/cancel", {"reson": "x"}, 422),
        (f"{NOBODY}/cancel", {"reason": "x" * 1001}, 422),
        (f"{NOBODY}/repeat", {"task": "load"}, 422),
        (f"{NOBODY}/repeat", {"from": ""}, 422),
        (f"{NOBODY}/signals/{'x' * 256}", {}, 422),
        (f"{NOBODY}/signals/a%00b", {}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(
    api: httpx.Client, platform: HandMadePlatform, path: str, body: Any, status: int
) -> None:
    answer = api.post(f"{RUNS}/{path}", json=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert platform.asked == []


def test_a_run_is_repeated_from_a_task_or_as_a_whole(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, "quick")

    whole = api.post(f"{RUNS}/{run}/repeat", headers=JSON)
    part = api.post(f"{RUNS}/{run}/repeat", json={"from": "load"})

    assert (whole.status_code, part.status_code) == (201, 201)
    assert whole.headers["Location"] == f"{RUNS}/{whole.json()['id']}"
    assert platform.asked == [("repeat", None), ("repeat", "load")]


@pytest.mark.parametrize("payload", [{"by": "ann"}, [1, 2], "yes", 0, False, None])
def test_a_signal_carries_any_json(
    api: httpx.Client, platform: HandMadePlatform, payload: Any
) -> None:
    run = start(api)

    headers = {**JSON, "Idempotency-Key": "k"}
    content = msgspec.json.encode(payload)
    answer = api.post(f"{RUNS}/{run}/signals/approved", content=content, headers=headers)

    assert (answer.status_code, answer.json()["see"]) == (202, f"{RUNS}/{run}")
    assert platform.asked == [("approved", payload, "k")]


def test_a_signal_needs_neither_payload_nor_key(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    answer = api.post(f"{RUNS}/{start(api)}/signals/go%20on", headers=JSON)

    assert answer.status_code == 202
    assert platform.asked == [("go on", None, None)]


def test_a_signal_that_is_not_json_is_refused(api: httpx.Client) -> None:
    answer = api.post(f"{RUNS}/{start(api)}/signals/go", content=b"{", headers=JSON)

    assert answer.status_code == 422


def test_a_tenant_and_a_workflow_are_paused_and_resumed(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    whole = api.post("/v1/tenants/acme-corp/pause", json={"reason": "wrong figures"})
    one = api.post(f"{TENANT}/resume", json={"workflow": "slow"})

    assert whole.json() == {"tenant": "acme_corp", "workflow": None, "paused": True}
    assert one.json() == {"tenant": "acme_corp", "workflow": "slow", "paused": False}
    assert platform.asked == [
        ("acme_corp", None, True, "wrong figures"),
        ("acme_corp", "slow", False, ""),
    ]


@pytest.mark.parametrize("body", [{"workflow": ""}, {"workflow": "a\0"}, {"workflows": "slow"}])
def test_a_pause_of_nothing_is_refused(
    api: httpx.Client, platform: HandMadePlatform, body: dict[str, str]
) -> None:
    assert api.post(f"{TENANT}/pause", json=body).status_code == 422
    assert platform.asked == []


def test_an_error_of_the_tenant_is_the_answer(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api)
    platform.refuse = errors.TenantQuarantined("sick", retry_after=3.0)

    answers = [
        api.post(f"{RUNS}/{run}/cancel", headers=JSON),
        api.post(f"{RUNS}/{run}/signals/go", headers=JSON),
        api.post(f"{TENANT}/pause", headers=JSON),
    ]

    assert {(a.status_code, a.headers["Retry-After"]) for a in answers} == {(503, "3")}


def test_dead_letters_are_listed_page_by_page(api: httpx.Client) -> None:
    broken = [start(api, "broken") for _ in range(3)]
    start(api, "quick")

    first = api.get(f"{TENANT}/dead", params={"limit": 2}).json()
    second = api.get(f"{TENANT}/dead", params={"limit": 2, "cursor": first["cursor"]}).json()

    assert [run["id"] for run in first["runs"] + second["runs"]] == broken[::-1]
    assert second["cursor"] is None


@pytest.mark.requirement("R12.bulk")
def test_dead_letters_are_replayed_and_discarded_one_by_one(api: httpx.Client) -> None:
    one, other, third = (start(api, "broken") for _ in range(3))

    replayed = api.post(f"{TENANT}/dead/replay", json={"runs": [one, NOBODY]}).json()
    discarded = api.post(f"{TENANT}/dead/discard", json={"runs": [other]}).json()

    assert (replayed["done"], replayed["left"]) == ([one], 2)
    assert [each["run"] for each in replayed["refused"]] == [NOBODY]
    assert (discarded["done"], discarded["left"]) == ([other], 1)
    assert [run["id"] for run in api.get(f"{TENANT}/dead").json()["runs"]] == [third]
    assert api.get(f"{RUNS}/{other}").json()["state"] == "failed"


@pytest.mark.parametrize("action", ["replay", "discard"])
@pytest.mark.requirement("R12.bulk")
def test_all_dead_letters_are_changed_a_bounded_number_at_a_time(
    api: httpx.Client, action: str
) -> None:
    for _ in range(3):
        start(api, "broken")

    first = api.post(f"{TENANT}/dead/{action}", headers=JSON).json()
    second = api.post(f"{TENANT}/dead/{action}", json={}).json()

    assert [len(first["done"]), first["left"]] == [2, 1]
    assert [len(second["done"]), second["left"]] == [1, 0]


@pytest.mark.parametrize("runs", [[], ["last"], [NOBODY] * 1001, NOBODY])
def test_a_wrong_selection_changes_nothing(api: httpx.Client, runs: Any) -> None:
    start(api, "broken")

    assert api.post(f"{TENANT}/dead/discard", json={"runs": runs}).status_code == 422
    assert len(api.get(f"{TENANT}/dead").json()["runs"]) == 1


def test_runs_of_several_states_are_listed(api: httpx.Client) -> None:
    for workflow in ("slow", "quick", "broken"):
        start(api, workflow)

    found = api.get(RUNS, params=[("state", "failed"), ("state", "succeeded")]).json()["runs"]

    assert {run["state"] for run in found} == {"failed", "succeeded"}
