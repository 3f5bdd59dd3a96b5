"""Both clients against the API over real sockets."""

from __future__ import annotations

import inspect
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from anyio import to_thread

from orchestrator.client import calls
from orchestrator.client import client as async_module
from orchestrator.client import sync as sync_module
from orchestrator.client.client import Client, SyncClient
from orchestrator.model import errors
from orchestrator.model.api import StartRun
from orchestrator.model.states import RunState
from tests.http.platform import HandMadePlatform
from tests.http.serving import LEAVES_A_SOCKET, Served, serving


class InThread:
    """A sync client that can be awaited, so that one test serves both twins."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name)
        if name == "lifecycle":
            return InThread(value)
        if not inspect.ismethod(value):
            return value
        if name in {"tenant", "handle"}:
            return lambda *args: InThread(value(*args))
        if inspect.isgeneratorfunction(value):
            return lambda *args, **kwargs: _in_thread(value(*args, **kwargs))

        async def call(*args: Any, **kwargs: Any) -> Any:
            answer = await to_thread.run_sync(lambda: value(*args, **kwargs))
            if isinstance(answer, list):
                return [_awaitable(each) for each in answer]
            return _awaitable(answer)

        return call


async def _in_thread(items: Iterator[Any]) -> AsyncIterator[Any]:
    while (item := await to_thread.run_sync(lambda: next(items, None))) is not None:
        yield item


def _awaitable(answer: Any) -> Any:
    return InThread(answer) if isinstance(answer, sync_module.SyncRunHandle) else answer


Open = Callable[..., Any]


@pytest.fixture(params=["async", "sync"])
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Return a function that opens the one twin or the other."""
    clients: list[Any] = []

    def opener(url: str, **options: Any) -> Any:
        client = Client(url, **options) if request.param == "async" else SyncClient(url, **options)
        clients.append(client)
        return client if request.param == "async" else InThread(client)

    yield opener
    for client in clients:
        if isinstance(client, Client):
            await client.aclose()
        else:
            client.close()


def finish_soon(platform: HandMadePlatform, run: Any, **changes: Any) -> None:
    threading.Timer(0.1, platform.finish, ["acme_corp", run], changes).start()


@pytest.mark.parametrize("way", ["unix", "tcp"])
@pytest.mark.requirement("R8.python", "R8.queue")
async def test_a_run_is_started_and_awaited(
    opened: Open, served: Served, platform: HandMadePlatform, way: str
) -> None:
    client = opened(getattr(served, way), token=platform.tokens.operator)

    run = await client.tenant("acme-corp").start("slow", {"month": 1}, key="2013-01", tags=["a"])
    finish_soon(platform, run.id, output=7, context={"month": 1, "flights": 3})
    result = await run.result(timeout=30)

    assert (result.state, result.output) == (RunState.SUCCEEDED, 7)
    assert result.context == {"month": 1, "flights": 3}
    assert (result.input, result.tags, result.key) == ({"month": 1}, ["a"], "2013-01")


async def test_a_tenant_is_looked_at_and_cared_for(opened: Open, served: Served) -> None:
    care = opened(served.unix).tenant("acme-corp").lifecycle

    shown, counted = await care.stats(), await care.stats(exact=True)
    first, last = await care.maintain(), await care.maintain(after="flight", statement_seconds=5.0)

    assert (shown.tables[0].rows, counted.tables[0].rows) == (None, 42)
    assert (first.left, last.tables[0].name, last.left) == (2, "seat", 0)
    assert (await care.rotate_credentials()).rotation == 3


async def test_a_failed_run_is_a_result_like_any_other(opened: Open, served: Served) -> None:
    run = await opened(served.unix).tenant("acme_corp").start("broken")

    result = await run.result(timeout=30)

    assert result.state is RunState.FAILED
    assert (result.error.task, result.error.message) == ("load", "no such file")


async def test_a_result_that_is_not_there_in_time_is_told(opened: Open, served: Served) -> None:
    run = await opened(served.unix).tenant("acme_corp").start("slow")

    with pytest.raises(errors.DeadlineExceeded, match=r"not finished within 0\.1 s"):
        await run.result(timeout=0.1)

    assert (await run.view()).state is RunState.RUNNING


async def test_a_known_key_gives_the_same_run(opened: Open, served: Served) -> None:
    tenant = opened(served.unix).tenant("acme_corp")

    first, second = await tenant.start("slow", key="k"), await tenant.start("slow", key="k")

    assert first.id == second.id
    assert (first.known, second.known) == (False, True)


async def test_several_runs_are_started_at_once(opened: Open, served: Served) -> None:
    tenant = opened(served.unix).tenant("acme_corp")

    runs = await tenant.start_many(StartRun(workflow="quick", key=key) for key in "abc")

    assert [(await run.view()).key for run in runs] == ["a", "b", "c"]


async def test_runs_are_listed_by_state_time_and_page(opened: Open, served: Served) -> None:
    tenant = opened(served.unix).tenant("acme_corp")
    for _ in range(3):
        await tenant.start("quick")
    await tenant.start("slow")
    now = datetime.now(UTC)

    first = await tenant.runs(state="succeeded", workflow="quick", limit=2)
    second = await tenant.runs(state=RunState.SUCCEEDED, limit=2, cursor=first.cursor)

    assert [len(first.runs), len(second.runs), second.cursor] == [2, 1, None]
    assert len((await tenant.runs(since=now - timedelta(hours=1))).runs) == 4
    assert (await tenant.runs(since=now + timedelta(hours=1))).runs == []


async def test_tenants_are_created_listed_shown_and_provisioned(
    opened: Open, served: Served
) -> None:
    client = opened(served.unix)

    created = await client.create_tenant("globex", aliases=["Globex"], set={"weight": 2})

    assert [tenant.id for tenant in await client.tenants()] == ["acme_corp", "globex"]
    assert await client.tenant("globex").show() == created
    assert (await client.tenant("globex").why()).tenant == "globex"
    assert (await client.tenant("globex").provision()).engine_version == 1
    page = await client.audit("globex", limit=1)
    assert [entry.operation for entry in page.entries] == ["tenant.provision"]
    page = await client.audit("globex", cursor=page.cursor)
    assert [entry.operation for entry in page.entries] == ["tenant.create"]


async def test_the_node_is_shown_and_reloaded(opened: Open, served: Served) -> None:
    client = opened(served.unix)

    assert (await client.status()).node == "a"
    assert (await client.reload()).added == ["globex"]


async def test_an_error_arrives_as_it_was_raised(
    opened: Open, served: Served, platform: HandMadePlatform
) -> None:
    platform.refuse = errors.QuotaExceeded(
        "acme_corp", limit="max_runs_per_hour", allowed=9, retry_after=1800.0
    )

    with pytest.raises(errors.QuotaExceeded) as caught:
        await opened(served.unix).tenant("acme_corp").start("slow")

    assert str(caught.value) == str(platform.refuse)
    assert caught.value.hint == platform.refuse.hint
    assert (caught.value.limit, caught.value.data["retry_after"]) == ("max_runs_per_hour", 1800.0)


async def test_a_run_is_paused_resumed_cancelled_retried_and_repeated(
    opened: Open, served: Served, platform: HandMadePlatform
) -> None:
    tenant = opened(served.unix).tenant("acme_corp")
    run = await tenant.start("slow")

    states = [await run.pause(reason="lunch"), await run.resume(), await run.cancel(reason="no")]
    broken = await tenant.start("broken")
    states.append(await tenant.handle(str(broken.id)).retry())
    again = await broken.repeat("load")

    assert states == ["paused", "running", "cancelled", "running"]
    assert [asked[0] for asked in platform.asked[:3]] == ["pause", "resume", "cancel"]
    assert platform.asked[0][1] == "lunch"
    assert platform.asked[-1] == ("repeat", "load")
    assert (await again.view()).workflow == "broken"


async def test_what_the_state_of_a_run_forbids_is_a_conflict(opened: Open, served: Served) -> None:
    run = await opened(served.unix).tenant("acme_corp").start("quick")

    with pytest.raises(errors.RunConflict):
        await run.cancel()


async def test_a_handle_of_what_is_no_run_is_refused(opened: Open, served: Served) -> None:
    with pytest.raises(errors.InvalidRequest, match="not a run id"):
        opened(served.unix).tenant("acme_corp").handle("last")


async def test_a_signal_is_sent_with_any_payload(
    opened: Open, served: Served, platform: HandMadePlatform
) -> None:
    run = await opened(served.unix).tenant("acme_corp").start("slow")

    await run.signal("approved", {"by": "ann"}, key="k")
    await run.signal("go on")

    assert platform.asked == [("approved", {"by": "ann"}, "k"), ("go on", None, None)]


async def test_a_tenant_is_paused_and_resumed(
    opened: Open, served: Served, platform: HandMadePlatform
) -> None:
    tenant = opened(served.unix).tenant("acme-corp")

    assert (await tenant.pause("slow", reason="wrong figures")).paused
    assert not (await tenant.resume()).paused
    asked = [("acme_corp", "slow", True, "wrong figures"), ("acme_corp", None, False, "")]
    assert platform.asked == asked


async def test_dead_letters_are_listed_replayed_and_discarded(opened: Open, served: Served) -> None:
    tenant = opened(served.unix).tenant("acme_corp")
    one, other, third, fourth = [(await tenant.start("broken")).id for _ in range(4)]

    page = await tenant.dead(limit=3)
    rest = await tenant.dead(limit=3, cursor=page.cursor)
    replayed = await tenant.replay([one])
    discarded = await tenant.discard()

    assert [run.id for run in page.runs + rest.runs] == [fourth, third, other, one]
    assert (replayed.done, replayed.left) == ([one], 3)
    assert (discarded.done, discarded.left) == ([third, other], 1)


async def test_a_start_can_be_put_off_and_bounded(opened: Open, served: Served) -> None:
    tenant = opened(served.unix).tenant("acme_corp")
    at = datetime.now(UTC) + timedelta(hours=1)

    await tenant.start("slow", delay="5m", deadline="1h")
    await tenant.start("slow", at=at)

    first, second = served.platform.started
    assert (first.delay, first.at, first.deadline) == ("5m", None, "1h")
    assert (second.delay, second.at, second.deadline) == (None, at, None)


async def test_events_are_read_to_their_present_end(
    opened: Open, served: Served, platform: HandMadePlatform
) -> None:
    run = await opened(served.unix).tenant("acme_corp").start("slow")
    for number in range(6):
        platform.tell(run.id, "task.started", task=f"t{number}\u2028\x85")

    every = [event async for event in run.events()]
    some = [event async for event in run.events(after=4)]

    assert [event.number for event in every] == [0, 1, 2, 3, 4, 5, 6]
    assert [event.number for event in some] == [5, 6]
    assert every[1].event == {"event": "task.started", "task": "t0\u2028\x85"}


@pytest.mark.requirement("R13.live")
async def test_events_are_followed_to_the_end_of_the_run(
    opened: Open, served: Served, platform: HandMadePlatform
) -> None:
    run = await opened(served.unix).tenant("acme_corp").start("slow")
    platform.tell(run.id, "task.started", task="t\u2028\x85")
    seen = []

    async for event in run.events(follow=True):
        seen.append(event)
        if event.number == 1:
            finish_soon(platform, run.id)

    assert [event.event["event"] for event in seen] == [
        "run.started",
        "task.started",
        "run.succeeded",
    ]
    assert seen[1].event["task"] == "t\u2028\x85"


async def test_events_of_a_run_that_is_not_there_are_an_error(opened: Open, served: Served) -> None:
    run = opened(served.unix).tenant("acme_corp").handle(UUID(int=0))

    for follow in (False, True):
        with pytest.raises(errors.RunNotFound):
            _ = [event async for event in run.events(follow=follow)]


@LEAVES_A_SOCKET
@pytest.mark.usefixtures("left_sockets")
async def test_events_are_followed_over_a_restart_of_the_daemon(
    opened: Open, platform: HandMadePlatform, tmp_path: Path
) -> None:
    path = tmp_path / "insula.sock"
    first_over, over = threading.Event(), threading.Event()

    def two_lives() -> None:
        with serving(platform, path):
            listening.set()
            first_over.wait(30)
        with serving(platform, path):
            over.wait(30)

    listening = threading.Event()
    thread = threading.Thread(target=two_lives)
    thread.start()
    await to_thread.run_sync(listening.wait, 30)
    numbers = []
    try:
        run = await opened(f"unix://{path}", retries=0).tenant("acme_corp").start("slow")
        async for event in run.events(follow=True):
            numbers.append(event.number)
            if not first_over.is_set():
                first_over.set()
                finish_soon(platform, run.id)
    finally:
        first_over.set()
        over.set()
        thread.join()

    assert numbers == [0, 1]


@pytest.mark.parametrize("name", ["no/such", "a?b#c", "..", "Ä"])
async def test_a_strange_name_reaches_no_other_route(
    opened: Open, served: Served, name: str
) -> None:
    with pytest.raises(errors.InsulaError) as caught:
        await opened(served.unix).tenant(name).show()

    assert caught.value.code in {"tenant_id_invalid", "tenant_not_found", "request_invalid"}


@LEAVES_A_SOCKET
@pytest.mark.usefixtures("left_sockets")
async def test_nobody_at_the_socket_is_said_with_what_to_do(opened: Open, tmp_path: Path) -> None:
    client = opened(f"unix://{tmp_path / 'insula.sock'}", retries=0)

    with pytest.raises(errors.DaemonUnreachable, match="no daemon answers at") as caught:
        await client.status()

    assert "insula serve" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
async def test_a_closed_door_is_not_a_missing_daemon(opened: Open, served: Served) -> None:
    served.path.chmod(0)

    with pytest.raises(errors.NotAllowed, match="does not let you in"):
        await opened(served.unix).status()


@LEAVES_A_SOCKET
@pytest.mark.usefixtures("left_sockets")
async def test_a_daemon_that_comes_back_soon_is_found(
    opened: Open, platform: HandMadePlatform, tmp_path: Path
) -> None:
    path = tmp_path / "insula.sock"
    client = opened(f"unix://{path}", retries=20)
    over = threading.Event()

    def later() -> None:
        with serving(platform, path):
            over.wait(30)

    timer = threading.Timer(0.2, later)
    timer.start()
    try:
        run = await client.tenant("acme_corp").start("quick", key="k")
    finally:
        over.set()
        timer.join()

    assert not run.known


@LEAVES_A_SOCKET
@pytest.mark.usefixtures("left_sockets")
async def test_a_result_outlives_a_restart_of_the_daemon(
    opened: Open, platform: HandMadePlatform, tmp_path: Path
) -> None:
    path = tmp_path / "insula.sock"
    with serving(platform, path):
        run = await opened(f"unix://{path}", retries=0).tenant("acme_corp").start("slow")
    over = threading.Event()

    def later() -> None:
        with serving(platform, path):
            platform.finish("acme_corp", run.id)
            over.wait(30)

    timer = threading.Timer(0.2, later)
    timer.start()
    try:
        result = await run.result(timeout=30)
    finally:
        over.set()
        timer.join()

    assert result.state is RunState.SUCCEEDED


@pytest.fixture
def hangs_up() -> Iterator[tuple[str, list[bytes]]]:
    """Return the URL of a server that reads each request and hangs up, and what it read."""
    seen: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    seen.append(caller.recv(65536))

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


async def test_a_submit_with_a_key_is_sent_again_when_its_answer_is_lost(
    opened: Open, hangs_up: tuple[str, list[bytes]]
) -> None:
    url, seen = hangs_up

    with pytest.raises(errors.DaemonUnreachable, match="was lost"):
        await opened(url, retries=2).tenant("acme_corp").start("slow", key="k")

    assert len(seen) == 3


async def test_a_submit_without_a_key_is_sent_once_and_its_fate_is_unknown(
    opened: Open, hangs_up: tuple[str, list[bytes]]
) -> None:
    url, seen = hangs_up

    with pytest.raises(errors.DaemonUnreachable, match="unknown") as caught:
        await opened(url, retries=2).tenant("acme_corp").start("slow")

    assert len(seen) == 1
    assert "key" in caught.value.hint


async def test_no_answer_in_time_is_said_so(opened: Open) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        client = opened(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.1)

        with pytest.raises(errors.DeadlineExceeded, match="did not answer in time"):
            await client.tenants()


async def test_a_proxy_of_the_environment_is_not_asked(
    opened: Open, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    assert (await opened(served.tcp, token=served.platform.tokens.operator).status()).node == "a"


async def test_something_else_at_the_address_is_noticed(opened: Open, served: Served) -> None:
    # The same server, asked below a path that it does not have.
    client = opened(f"{served.tcp}/schema", token=served.platform.tokens.operator)

    with pytest.raises(errors.InsulaError, match="there is no GET /schema/v1/status"):
        await client.status()


@pytest.mark.parametrize("url", ["", "insula.sock", "unix://insula.sock", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="no address of a daemon"):
        Client(url)
    with pytest.raises(errors.InvalidRequest, match="no address of a daemon"):
        SyncClient(url)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Client, SyncClient),
        (async_module.TenantClient, sync_module.SyncTenantClient),
        (async_module.RunHandle, sync_module.SyncRunHandle),
    ],
)
def test_the_twins_have_the_same_methods(one: type, other: type) -> None:
    def public(cls: type) -> dict[str, list[tuple[str, Any]]]:
        return {
            name.removeprefix("a") if name == "aclose" else name: [
                (each.name, each.default) for each in inspect.signature(value).parameters.values()
            ]
            for name, value in vars(cls).items()
            if inspect.isfunction(value) and (name == "__init__" or name[0] != "_")
        }

    assert public(one) == public(other)


def test_polls_cover_the_whole_time_and_no_more() -> None:
    begin = time.monotonic()

    assert list(calls.polls(0)) == [0]
    assert next(calls.polls(None)) == calls.LONGEST_POLL
    assert next(calls.polls(12)) == 12
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("content", [b"<html>", b"", b'{"detail": "no"}'])
def test_an_answer_that_is_no_problem_of_ours_says_so(content: bytes) -> None:
    with pytest.raises(errors.InsulaError, match="status 502 and is not one of Insula's"):
        calls.status().decode(502, content)


def test_an_answer_of_another_version_says_so() -> None:
    with pytest.raises(errors.InsulaError, match="can not be understood") as caught:
        calls.status().decode(200, b'{"node": "a"}')

    assert "one version" in caught.value.hint
