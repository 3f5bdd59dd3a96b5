"""The events of a run: listed in parts, and followed live."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest

from orchestrator.http import follow
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.model.ids import TenantId
from tests.http.platform import HandMadePlatform
from tests.http.serving import serving
from tests.support.wait import until

RUNS = "/v1/tenants/acme_corp/runs"
STREAM = {"Accept": "text/event-stream"}


def start(api: httpx.Client, platform: HandMadePlatform, *, events: int = 0) -> str:
    """Start a run with so many events more than its first."""
    run: str = api.post(RUNS, json={"workflow": "slow"}).json()["id"]
    for number in range(events):
        platform.tell(UUID(run), "task.started", task=f"t{number}")
    return run


def messages(response: httpx.Response) -> Iterator[dict[str, str]]:
    """Yield the messages of a stream; a comment has the field ''."""
    message: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            message[name.rstrip(":")] = value
        elif message:
            yield message
            message = {}


def followed(api: httpx.Client, run: str, **headers: str) -> list[dict[str, str]]:
    """Follow a run to the end of the stream."""
    with api.stream("GET", f"{RUNS}/{run}/events", headers={**STREAM, **headers}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(messages(response))


def test_events_are_listed_in_parts(api: httpx.Client, platform: HandMadePlatform) -> None:
    run = start(api, platform, events=4)

    parts: list[list[dict[str, Any]]] = [api.get(f"{RUNS}/{run}/events").json()]
    while parts[-1]:
        last = parts[-1][-1]["number"]
        parts.append(api.get(f"{RUNS}/{run}/events", params={"after": last}).json())

    assert [e["number"] for part in parts for e in part] == [0, 1, 2, 3, 4]
    assert parts[0][0]["event"] == {"event": "run.started"}
    assert parts[0][1]["event"] == {"event": "task.started", "task": "t0"}


def test_a_finished_run_is_told_to_its_end(api: httpx.Client, platform: HandMadePlatform) -> None:
    run = start(api, platform, events=4)
    platform.finish("acme_corp", UUID(run))

    told = followed(api, run)

    assert [message["id"] for message in told] == ["0", "1", "2", "3", "4", "5"]
    assert [told[0]["event"], told[-1]["event"]] == ["run.started", "run.succeeded"]
    data = json.loads(told[1]["data"])
    assert (data["number"], data["event"]["task"]) == (1, "t0")


@pytest.mark.requirement("R13.live")
def test_what_happens_is_told_at_once_and_the_end_ends_the_stream(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, platform)
    with api.stream("GET", f"{RUNS}/{run}/events", headers=STREAM) as response:
        told = messages(response)
        assert next(told)["event"] == "run.started"
        platform.tell(UUID(run), "task.started", task="load")
        assert next(told)["event"] == "task.started"
        platform.finish("acme_corp", UUID(run))
        assert [message["event"] for message in told] == ["run.succeeded"]


def test_a_run_that_was_retried_is_followed_on(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, platform)
    for tag in ("run.failed", "run.retried", "run.succeeded"):
        platform.tell(UUID(run), tag)

    assert [message["event"] for message in followed(api, run)] == [
        "run.started",
        "run.failed",
        "run.retried",
        "run.succeeded",
    ]


@pytest.mark.requirement("R13.resume")
def test_a_stream_is_resumed_after_the_last_event_seen(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, platform, events=2)
    platform.finish("acme_corp", UUID(run))

    told = followed(api, run, **{"Last-Event-ID": "1"})

    assert [message["id"] for message in told] == ["2", "3"]


def test_one_who_has_seen_the_end_is_told_to_stay_away(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, platform, events=2)
    platform.finish("acme_corp", UUID(run))

    answer = api.get(f"{RUNS}/{run}/events", headers={**STREAM, "Last-Event-ID": "3"})

    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"Last-Event-ID": "9"}, {}, 422),
        ({"Last-Event-ID": "x"}, {}, 422),
        ({}, {"after": "-2"}, 422),
        ({}, {"after": 2**31}, 422),
        ({}, {"since": "1"}, 422),
    ],
)
def test_a_place_that_is_none_is_refused(
    api: httpx.Client,
    platform: HandMadePlatform,
    headers: dict[str, str],
    query: dict[str, Any],
    status: int,
) -> None:
    run = start(api, platform)

    answer = api.get(f"{RUNS}/{run}/events", headers={**STREAM, **headers}, params=query)

    assert (answer.status_code, answer.json()["code"]) == (status, "request_invalid")


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_events_of_a_run_that_is_not_there(api: httpx.Client, headers: dict[str, str]) -> None:
    answer = api.get(f"{RUNS}/{UUID(int=0)}/events", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (404, "run_not_found")


def test_silence_is_filled_with_comments(
    api: httpx.Client, platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "KEEP_ALIVE", 0.2)
    run = start(api, platform)

    with api.stream("GET", f"{RUNS}/{run}/events", headers=STREAM) as response:
        told = messages(response)
        assert next(told)["event"] == "run.started"
        assert next(told) == {"": "still here"}
        assert next(told) == {"": "still here"}


def test_for_one_who_goes_away_nobody_looks_any_more(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, platform)
    with api.stream("GET", f"{RUNS}/{run}/events", headers=STREAM) as response:
        assert next(messages(response))["id"] == "0"

    longest = follow.SLOWEST_LOOK * 1.5
    anyio.run(until, lambda: time.monotonic() - platform.read_at > longest)


def test_there_are_only_so_many_followers(
    api: httpx.Client, platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "FOLLOWERS", 1)
    run = start(api, platform)
    with api.stream("GET", f"{RUNS}/{run}/events", headers=STREAM) as response:
        told = messages(response)
        assert next(told)["id"] == "0"

        refused = api.get(f"{RUNS}/{run}/events", headers=STREAM)

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    platform.finish("acme_corp", UUID(run))
    anyio.run(until, lambda: api.get(f"{RUNS}/{run}/events", headers=STREAM).status_code == 200)


def test_one_tenant_can_not_take_all_places_of_followers(
    api: httpx.Client, platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "OF_ONE_TENANT", 1)
    platform.add("globex")
    platform.runs[TenantId("globex")] = {}
    run = start(api, platform)
    with api.stream("GET", f"{RUNS}/{run}/events", headers=STREAM) as response:
        told = messages(response)
        assert next(told)["id"] == "0"

        refused = api.get(f"{RUNS}/{run}/events", headers=STREAM)
        theirs = api.get(f"/v1/tenants/globex/runs/{run}/events", headers=STREAM)

    assert (refused.status_code, theirs.status_code) == (503, 404)
    assert "this tenant" in refused.json()["detail"]


def test_a_look_that_fails_cuts_the_stream_off_to_be_resumed(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    run = start(api, platform)
    with api.stream("GET", f"{RUNS}/{run}/events", headers=STREAM) as response:
        told = messages(response)
        assert next(told)["id"] == "0"
        platform.refuse = DatabaseUnavailable("the database does not answer")
        assert list(told) == []

    platform.refuse = None
    platform.finish("acme_corp", UUID(run))
    assert [m["id"] for m in followed(api, run, **{"Last-Event-ID": "0"})] == ["1"]


def test_a_server_that_closes_ends_its_streams(platform: HandMadePlatform, tmp_path: Path) -> None:
    follows = threading.Event()

    def read(url: str) -> list[dict[str, str]]:
        headers = STREAM | served.operator
        with httpx.stream("GET", url, headers=headers, timeout=30, trust_env=False) as response:
            told = messages(response)
            first = next(told)
            follows.set()
            return [first, *told]

    with ThreadPoolExecutor() as threads:
        with serving(platform, tmp_path / "insula.sock") as served:
            with httpx.Client(base_url=served.tcp, trust_env=False, headers=served.operator) as api:
                run = start(api, platform)
            reading = threads.submit(read, f"{served.tcp}{RUNS}/{run}/events")
            assert follows.wait(30)
            begin = time.monotonic()

        assert [message["id"] for message in reading.result()] == ["0"]
        assert time.monotonic() - begin < 4
