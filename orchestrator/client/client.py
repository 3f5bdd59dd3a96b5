"""Clients for applications: start runs, await them, read what the daemon knows.

    async with Client("http://127.0.0.1:8088", token=token) as client:
        run = await client.tenant("acme_corp").start("monthly_report", {"month": 1}, key="2013-01")
        result = await run.result(timeout=60)

    with SyncClient("unix:///run/insula/insula.sock") as client:
        run = client.tenant("acme_corp").start("monthly_report", {"month": 1})

Both twins send the same calls (`orchestrator.client.calls`) and differ only in `await`. Every error
is one of `orchestrator.model.errors`, as the daemon raised it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import anyio
import httpx
from tenacity import AsyncRetrying

from orchestrator.client import calls
from orchestrator.client.archives import TenantArchives
from orchestrator.client.call import Call, refusal
from orchestrator.client.content import pieces_of_async
from orchestrator.client.lifecycle import TenantLifecycle
from orchestrator.client.progress import ToldAnswer
from orchestrator.client.secrets import TenantSecrets
from orchestrator.client.sending import RETRIES, TIMEOUT, Options, policy, request
from orchestrator.client.stream import FINISHED, PAUSE, EventReader
from orchestrator.client.sync import SyncClient
from orchestrator.client.tokens import AdminTokens, TenantTokens
from orchestrator.client.usage import Usage
from orchestrator.model.api import (
    AuditPage,
    CreateTenant,
    DeadReport,
    EventView,
    PauseView,
    ReloadReport,
    RunPage,
    RunView,
    ScheduleView,
    Started,
    StartRun,
    Status,
    TenantSummary,
    TenantView,
    TenantWhy,
)
from orchestrator.model.figures import FiguresOrder, InstallationFigures
from orchestrator.model.migration import MigrateTenants, MigrationReport
from orchestrator.model.progress import NDJSON, Report
from orchestrator.model.states import RunState

__all__ = ["Client", "RunHandle", "ScheduleHandle", "SyncClient", "TenantClient"]

T = TypeVar("T")


class Client:
    """Talks to a daemon; `url` is `http://host:port` or `unix:///path` of its control socket.

    Over TCP it needs a `token`: `client.tokens` and `client.tenant(…).tokens` make them.
    A token goes in plain text to this machine alone, unless `plain_http` says otherwise.
    `retries` bounds how often a request that is safe to repeat is sent again when nobody answers.

    >>> async with Client("unix:///run/insula/insula.sock") as client:  # doctest: +SKIP
    ...     print(await client.status())
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        plain_http: bool = False,
    ) -> None:
        self._options = Options.read(url, token, timeout, retries, plain_http=plain_http)
        self.tokens = AdminTokens(self.send)
        self.usage = Usage(self.send)
        address = self._options.address
        self._http = httpx.AsyncClient(
            base_url=address.base,
            headers=self._options.headers,
            # Given, so that a proxy of the environment is not asked for a daemon of this machine.
            transport=httpx.AsyncHTTPTransport(uds=address.socket, verify=address.encrypted),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; `async with` does it."""
        await self._http.aclose()

    def tenant(self, id: str) -> TenantClient:
        """Return the tenant of that id or alias; nothing is sent yet.

        >>> acme = client.tenant("acme_corp")  # doctest: +SKIP
        """
        return TenantClient(self, id)

    async def status(self) -> Status:
        """Return the node at a glance.

        >>> (await client.status()).slots  # doctest: +SKIP
        {'awake': 3, 'dormant': 97}
        """
        return await self.send(calls.status())

    async def reload(self) -> ReloadReport:
        """Have the configuration read again; `applied` tells whether it was taken.

        >>> (await client.reload()).added  # doctest: +SKIP
        ['globex']
        """
        return await self.send(calls.reload())

    async def tenants(self) -> list[TenantSummary]:
        """Return all tenants, by id.

        >>> [tenant.id for tenant in await client.tenants()]  # doctest: +SKIP
        ['acme_corp', 'globex']
        """
        return (await self.send(calls.tenants())).tenants

    async def stats(
        self, *, sort: FiguresOrder | str = FiguresOrder.ID, limit: int | None = None
    ) -> InstallationFigures:
        """Return all tenants in figures as they were last read, and their sums.

        With a `limit` only so many of them: by `sort` the largest, `runs`, `errors`, `size` …

        >>> (await client.stats(sort="errors", limit=5)).tenants  # doctest: +SKIP
        """
        return await self.send(calls.stats(sort, limit))

    async def audit(self, tenant: str, *, limit: int = 50, cursor: int | None = None) -> AuditPage:
        """Return who did what to a tenant, newest first; `cursor` is that of the page before.

        Asked of the client, since it is there also when the tenant is not any more.

        >>> (await client.audit("acme_corp")).entries[0].operation  # doctest: +SKIP
        'tenant.pause'
        """
        return await self.send(calls.audit(tenant, limit, cursor))

    async def create_tenant(
        self,
        id: str,
        *,
        name: str | None = None,
        tier: str | None = None,
        aliases: Iterable[str] = (),
        set: Mapping[str, Any] | None = None,
    ) -> TenantView:
        """Register a tenant at run time; `set` has dotted paths of its declaration.

        >>> await client.create_tenant("globex", tier="basic")  # doctest: +SKIP
        """
        created = CreateTenant(id=id, name=name, tier=tier, aliases=[*aliases], set={**(set or {})})
        return await self.send(calls.create_tenant(created))

    async def migrate(
        self, wanted: MigrateTenants | None = None, report: Report | None = None
    ) -> MigrationReport:
        """Bring the schemas of tenants up to date, by default of all; see who `failed`.

        `report` hears how many are done.

        >>> (await client.migrate(MigrateTenants(canary="acme_corp"))).failed  # doctest: +SKIP
        []
        """
        return await self.send(calls.migrate(wanted or MigrateTenants()), report)

    async def send(self, call: Call[T], report: Report | None = None) -> T:
        """Send one of `orchestrator.client.calls` and return its answer.

        Where the daemon tells how far it is, `report` hears of it.
        """
        if report is not None:
            return await self._send_told(call.told, report)
        options = self._options
        try:
            answer: httpx.Response = await AsyncRetrying(**policy(call, retries=options.retries))(
                self._http.request, **request(call, timeout=options.timeout, pieces=pieces_of_async)
            )
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        return call.decode(answer.status_code, answer.content)

    async def _send_told(self, call: Call[T], report: Report) -> T:
        async with self.open(call) as answer:
            if answer.headers.get("Content-Type") != NDJSON:
                return call.decode(answer.status_code, await answer.aread())
            told = ToldAnswer(call, report)
            async for line in answer.aiter_lines():
                told.feed(line)
            return told.result()

    async def follow(self, tenant: str, run: UUID, after: int = -1) -> AsyncIterator[EventView]:
        """Yield the events of a run as they happen, until it has finished.

        A connection that is lost is opened again, and goes on after the last event.

        >>> async for event in client.follow("acme_corp", run.id):  # doctest: +SKIP
        ...     print(event.event)
        """
        patience = 0.0
        while True:
            call, seen = calls.follow_events(tenant, run, after, patience=patience), after
            async with self.open(call) as answer:
                if answer.status_code == FINISHED:
                    return
                async for event in _events(answer):
                    after = event.number
                    yield event
            if after == seen:
                await anyio.sleep(PAUSE)
            patience = calls.FOLLOW_PATIENCE

    @asynccontextmanager
    async def open(self, call: Call[Any]) -> AsyncIterator[httpx.Response]:
        """Send one of `orchestrator.client.calls`, and yield its answer as it comes."""
        options = self._options
        sent = self._http.build_request(
            **request(call, timeout=options.timeout, pieces=pieces_of_async)
        )
        try:
            answer: httpx.Response = await AsyncRetrying(**policy(call, retries=options.retries))(
                self._http.send, sent, stream=True
            )
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        try:
            if not answer.is_success:
                raise refusal(answer.status_code, await answer.aread())
            yield answer
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        finally:
            await answer.aclose()


class TenantClient:
    """One tenant, seen from outside; `Client.tenant` makes it."""

    def __init__(self, client: Client, id: str) -> None:
        self._client = client
        self.id = id
        self.lifecycle = TenantLifecycle(client.send, id)
        self.archives = TenantArchives(client.send, client.open, id)
        self.secret = TenantSecrets(client.send, id)
        self.tokens = TenantTokens(client.send, id)

    async def start(  # noqa: PLR0913 - one parameter for each option
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        tags: Iterable[str] = (),
        delay: str | None = None,
        at: datetime | None = None,
        deadline: str | None = None,
    ) -> RunHandle:
        """Start a run; it is durable when this returns. The same `key` gives the same run again.

        It begins after `delay` ("5m") or not before `at`, and has to end within `deadline` then.

        >>> run = await tenant.start("report", {"month": 1}, key="2013-01")  # doctest: +SKIP
        """
        when = {"delay": delay, "at": at, "deadline": deadline}
        options = {"key": key, "queue": queue, "priority": priority, "tags": tags, **when}
        run = calls.new_run(workflow, input, **options)
        return self._handle(await self._client.send(calls.start(self.id, run)))

    async def start_many(self, runs: Iterable[StartRun]) -> list[RunHandle]:
        """Start several runs in one commit, all or none.

        >>> await tenant.start_many([StartRun(workflow="send", key="a")])  # doctest: +SKIP
        """
        answer = await self._client.send(calls.start_many(self.id, [*runs]))
        return [self._handle(started) for started in answer["runs"]]

    async def runs(
        self,
        *,
        state: RunState | str | None = None,
        workflow: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """Return a page of runs, newest first; pass its `cursor` for the next one.

        >>> (await tenant.runs(state="failed", limit=10)).runs  # doctest: +SKIP
        """
        wanted = calls.Runs(state, workflow, since, limit, cursor)
        return await self._client.send(calls.list_runs(self.id, wanted))

    async def run(self, id: UUID | str, *, wait: float = 0.0) -> RunView:
        """Return everything about one run, after at most `wait` seconds in which it may finish.

        >>> (await tenant.run(run_id)).state  # doctest: +SKIP
        """
        return await self._client.send(calls.show_run(self.id, id, wait=wait))

    def handle(self, id: UUID | str) -> RunHandle:
        """Return the handle of a run that was started before; nothing is sent yet.

        >>> await tenant.handle(run_id).cancel(reason="not needed")  # doctest: +SKIP
        """
        return RunHandle(self._client, self.id, calls.run_id(id))

    async def pause(self, workflow: str | None = None, *, reason: str = "") -> PauseView:
        """Let the tenant, or one of its workflows, start nothing until it is resumed.

        >>> await tenant.pause("monthly_report")  # doctest: +SKIP
        """
        call = calls.set_pause(self.id, workflow, paused=True, reason=reason)
        return await self._client.send(call)

    async def resume(self, workflow: str | None = None) -> PauseView:
        """Take a pause back: the tenant's, or that of one workflow.

        >>> await tenant.resume("monthly_report")  # doctest: +SKIP
        """
        return await self._client.send(calls.set_pause(self.id, workflow, paused=False))

    async def dead(self, *, limit: int = 50, cursor: str | None = None) -> RunPage:
        """Return a page of dead letters, the runs that failed for good, newest first.

        >>> (await tenant.dead()).runs  # doctest: +SKIP
        """
        return await self._client.send(calls.list_dead(self.id, limit, cursor))

    async def replay(self, runs: Iterable[UUID | str] | None = None) -> DeadReport:
        """Retry dead letters: these, or the oldest thousand of all.

        >>> (await tenant.replay()).left  # doctest: +SKIP
        0
        """
        return await self._client.send(calls.change_dead(self.id, "replay", runs))

    async def discard(self, runs: Iterable[UUID | str] | None = None) -> DeadReport:
        """Give dead letters up, these or the oldest thousand: they are not listed any more.

        >>> (await tenant.discard([run.id])).done  # doctest: +SKIP
        """
        return await self._client.send(calls.change_dead(self.id, "discard", runs))

    async def schedules(self) -> list[ScheduleView]:
        """Return the tenant's schedules, by name.

        >>> [each.next_fire_at for each in await tenant.schedules()]  # doctest: +SKIP
        """
        return (await self._client.send(calls.list_schedules(self.id))).schedules

    def schedule(self, name: str) -> ScheduleHandle:
        """Return the handle of a schedule; nothing is sent yet.

        >>> await tenant.schedule("nightly").fire()  # doctest: +SKIP
        """
        return ScheduleHandle(self._client, self.id, name)

    async def show(self) -> TenantView:
        """Return everything about the tenant.

        >>> (await tenant.show()).schema  # doctest: +SKIP
        'tenant_acme_corp'
        """
        return await self._client.send(calls.show_tenant(self.id))

    async def why(self) -> TenantWhy:
        """Return why the tenant runs or does not, and when it will.

        >>> (await tenant.why()).because  # doctest: +SKIP
        'it has nothing to do now'
        """
        return await self._client.send(calls.why_tenant(self.id))

    async def provision(self) -> TenantView:
        """Have the tenant's schema and roles made now instead of at first use.

        >>> (await tenant.provision()).provisioned_at  # doctest: +SKIP
        """
        return await self._client.send(calls.provision(self.id))

    def _handle(self, started: Started) -> RunHandle:
        return RunHandle(
            self._client, self.id, started.id, state=started.state, known=started.known
        )


class ScheduleHandle:
    """One schedule of a tenant; `TenantClient.schedule` makes it."""

    def __init__(self, client: Client, tenant: str, name: str) -> None:
        self._client = client
        self._tenant = tenant
        self.name = name

    async def pause(self) -> ScheduleView:
        """Let it start nothing until it is resumed; what passes meanwhile is not caught up.

        >>> await tenant.schedule("nightly").pause()  # doctest: +SKIP
        """
        call = calls.pause_schedule(self._tenant, self.name, paused=True)
        return await self._client.send(call)

    async def resume(self) -> ScheduleView:
        """Let it go on from now.

        >>> (await tenant.schedule("nightly").resume()).next_fire_at  # doctest: +SKIP
        """
        call = calls.pause_schedule(self._tenant, self.name, paused=False)
        return await self._client.send(call)

    async def fire(self) -> RunHandle:
        """Start a run of it now, also while it is paused or an earlier run goes on.

        >>> run = await tenant.schedule("nightly").fire()  # doctest: +SKIP
        """
        started = await self._client.send(calls.fire_schedule(self._tenant, self.name))
        return RunHandle(
            self._client, self._tenant, started.id, state=started.state, known=started.known
        )


class RunHandle:
    """One run. When this client started it, `state` is its first, and `known` tells a used key."""

    def __init__(
        self,
        client: Client,
        tenant: str,
        id: UUID,
        *,
        state: RunState | None = None,
        known: bool = False,
    ) -> None:
        self._client = client
        self._tenant = tenant
        self.id = id
        self.state = state
        self.known = known

    async def view(self) -> RunView:
        """Return everything about the run as it is now.

        >>> [task.state for task in (await run.view()).tasks]  # doctest: +SKIP
        """
        return await self._client.send(calls.show_run(self._tenant, self.id))

    async def result(self, timeout: float | None = None) -> RunView:  # noqa: ASYNC109 - both twins
        """Wait until the run has finished, however; DeadlineExceeded after `timeout` seconds.

        >>> (await run.result(timeout=60)).output  # doctest: +SKIP
        """
        for wait in calls.polls(timeout):
            view = await self._client.send(calls.show_run(self._tenant, self.id, wait=wait))
            if view.state.finished:
                return view
        raise calls.not_finished(self.id, timeout)

    async def events(self, *, after: int = -1, follow: bool = False) -> AsyncIterator[EventView]:
        """Yield the events with a number above `after`; with `follow` until the run has finished.

        >>> async for event in run.events(follow=True):  # doctest: +SKIP
        ...     print(event.number, event.event["event"])
        """
        if follow:
            async for event in self._client.follow(self._tenant, self.id, after):
                yield event
            return
        while part := await self._client.send(calls.list_events(self._tenant, self.id, after)):
            for event in part:
                yield event
            after = part[-1].number

    async def cancel(self, *, reason: str = "") -> RunState:
        """Cancel the run and the children that depend on it; return its state.

        >>> await run.cancel(reason="not needed any more")  # doctest: +SKIP
        """
        return await self._change("cancel", reason)

    async def pause(self, *, reason: str = "") -> RunState:
        """Let no further task of the run start until it is resumed; return its state.

        >>> await run.pause()  # doctest: +SKIP
        """
        return await self._change("pause", reason)

    async def resume(self, *, reason: str = "") -> RunState:
        """Let a paused run go on; return its state.

        >>> await run.resume()  # doctest: +SKIP
        """
        return await self._change("resume", reason)

    async def retry(self, *, reason: str = "") -> RunState:
        """Start the tasks of a failed run again that have not succeeded; return its state.

        >>> await run.retry()  # doctest: +SKIP
        """
        return await self._change("retry", reason)

    async def repeat(self, task: str | None = None) -> RunHandle:
        """Start a new run with the same input: as a whole, or from `task` on.

        >>> again = await run.repeat("summarise")  # doctest: +SKIP
        """
        started = await self._client.send(calls.repeat_run(self._tenant, self.id, task))
        return RunHandle(
            self._client, self._tenant, started.id, state=started.state, known=started.known
        )

    async def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send the run a signal for `ctx.wait_signal`; it is durable when this returns.

        >>> await run.signal("approved", {"by": "ann"}, key="order-7")  # doctest: +SKIP
        """
        await self._client.send(calls.send_signal(self._tenant, self.id, name, payload, key=key))

    async def _change(self, verb: str, reason: str) -> RunState:
        call = calls.change_run(self._tenant, self.id, verb, reason)
        return (await self._client.send(call)).state


async def _events(answer: httpx.Response) -> AsyncIterator[EventView]:
    reader = EventReader()
    # However the stream ends, it is asked for again from the last event on.
    with suppress(httpx.HTTPError):
        async for piece in answer.aiter_bytes():
            for event in reader.feed(piece):
                yield event
