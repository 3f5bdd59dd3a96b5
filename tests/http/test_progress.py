"""Long operations that tell how far they are."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import httpx
import msgspec

from tests.http.platform import HandMadePlatform
from tests.support.wait import until

TENANT = "/v1/tenants/acme-corp"
TOLD = {"Accept": "application/x-ndjson"}


def lines(answer: httpx.Response) -> list[Any]:
    """Return each line of an answer that is told."""
    return [msgspec.json.decode(line) for line in answer.content.splitlines()]


def test_whoever_asks_is_told_how_far_it_is_and_then_the_result(api: httpx.Client) -> None:
    headers = {**TOLD, "Content-Type": "application/json"}

    answer = api.post(f"{TENANT}/maintain", headers=headers)
    *told, last = lines(answer)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    assert told[-1] == {
        "progress": {"phase": "table boarding", "done": 0, "total": 3, "unit": "tables"}
    }
    assert (last["result"]["tables"][0]["name"], last["result"]["left"]) == ("boarding", 2)


def test_what_fails_before_it_begins_is_refused_as_ever(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.add("busy")

    answer = api.delete("/v1/tenants/busy", params={"results": "purge"}, headers=TOLD)

    assert (answer.status_code, answer.json()["code"]) == (409, "tenant_in_use")


def test_what_fails_in_its_middle_is_told_in_the_last_line(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.add("busy")

    answer = api.delete("/v1/tenants/busy", params={"results": "purge", "wait": 1}, headers=TOLD)
    *told, last = lines(answer)

    assert answer.status_code == 200
    assert [each["progress"]["phase"] for each in told] == ["waiting for its runs"]
    assert (last["problem"]["status"], last["problem"]["code"]) == (409, "tenant_in_use")
    (entry,) = api.get("/v1/tenants/busy/audit").json()["entries"]
    assert entry["outcome"] == "tenant_in_use"


async def test_an_operation_goes_on_when_its_caller_goes_away(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.lifecycle.may_end.clear()

    def go_away_after_a_line() -> str:
        asked = {"results": "purge", "wait": "1"}
        with api.stream("DELETE", TENANT, params=asked, headers=TOLD) as answer:
            return next(answer.iter_lines())

    line = await anyio.to_thread.run_sync(go_away_after_a_line)
    assert "waiting for its runs" in line
    platform.lifecycle.may_end.set()

    def outcome() -> bool:
        (entry,) = api.get("/v1/tenants/acme_corp/audit").json()["entries"]
        return bool(entry["outcome"] == "done")

    await until(lambda: anyio.to_thread.run_sync(outcome), what="the deletion is done")
