"""The API's schedules."""

from __future__ import annotations

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def test_schedules_are_listed_with_what_comes_next(api: httpx.Client) -> None:
    answer = api.get("/v1/tenants/acme-corp/schedules")

    assert answer.status_code == 200
    (found,) = answer.json()["schedules"]
    assert found["name"] == "nightly"
    assert found["spec"]["cron"] == "0 3 * * *"
    assert found["next_fire_at"] == "2026-01-02T03:00:00Z"
    assert found["last_fire"] is None


def test_a_schedule_is_paused_resumed_and_fired(api: httpx.Client) -> None:
    base = "/v1/tenants/acme_corp/schedules"

    paused = api.post(f"{base}/nightly/pause", headers=JSON)
    fired = api.post(f"{base}/nightly/fire", headers=JSON)
    resumed = api.post(f"{base}/nightly/resume", headers=JSON)

    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    assert (fired.status_code, fired.json()["state"]) == (201, "queued")
    assert resumed.json()["next_fire_at"] == "2026-01-02T03:00:00Z"
    assert resumed.json()["last_fire"]["run"] == fired.json()["id"]


@pytest.mark.parametrize("verb", ["pause", "resume", "fire"])
def test_an_unknown_schedule_is_not_found(api: httpx.Client, verb: str) -> None:
    answer = api.post(f"/v1/tenants/acme_corp/schedules/nihgtly/{verb}", headers=JSON)

    assert answer.status_code == 404
    assert answer.json()["code"] == "schedule_not_found"
    assert answer.json()["hint"] == "declared: nightly"


def test_a_schedule_knows_no_other_verb(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants/acme_corp/schedules/nightly/delete", headers=JSON)

    assert answer.status_code == 404
