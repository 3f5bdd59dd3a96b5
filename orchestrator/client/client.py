"""Clients for applications: start runs, await them, read what the daemon knows.

    async with Client("http://127.0.0.1:8088") as client:
        run = await client.tenant("acme_corp").start("monthly_report", {"month": 1}, key="2013-01")
        result = await run.result(timeout=60)

    with SyncClient("unix:///run/insula/insula.sock") as client:
        run = client.tenant("acme_corp").start("monthly_report", {"month": 1})

Both twins send the same calls (`orchestrator.client.calls`) and differ only in `await`. Every error
is one of `orchestrator.model.errors`, as the daemon raised it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
from tenacity import AsyncRetrying

from orchestrator.client import calls
from orchestrator.client.address import RETRIES, TIMEOUT, Options, policy, request
from orchestrator.client.calls import Call
from orchestrator.client.sync import SyncClient
from orchestrator.model.api import (
    CreateTenant,
    ReloadReport,
    RunPage,
    RunView,
    Started,
    StartRun,
    Status,
    TenantSummary,
    TenantView,
)
from orchestrator.model.states import RunState

__all__ = ["Client", "RunHandle", "SyncClient", "TenantClient"]

T = TypeVar("T")


class Client:
    """Talks to a daemon; `url` is `http://host:port` or `unix:///path` of its control socket.

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
    ) -> None:
        self._options = Options.read(url, token, timeout, retries)
        address = self._options.address
        self._http = httpx.AsyncClient(
            base_url=address.base,
            headers=self._options.headers,
            # Given, so that a proxy of the environment is not asked for a daemon of this machine.
            transport=httpx.AsyncHTTPTransport(uds=address.socket),
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

    async def send(self, call: Call[T]) -> T:
        """Send one of `orchestrator.client.calls` and return its answer."""
        options = self._options
        try:
            answer: httpx.Response = await AsyncRetrying(**policy(call, retries=options.retries))(
                self._http.request, **request(call, timeout=options.timeout)
            )
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        return call.decode(answer.status_code, answer.content)


class TenantClient:
    """One tenant, seen from outside; `Client.tenant` makes it."""

    def __init__(self, client: Client, id: str) -> None:
        self._client = client
        self.id = id

    async def start(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        tags: Iterable[str] = (),
    ) -> RunHandle:
        """Start a run; it is durable when this returns. The same `key` gives the same run again.

        >>> run = await tenant.start("report", {"month": 1}, key="2013-01")  # doctest: +SKIP
        """
        run = calls.new_run(workflow, input, key=key, queue=queue, priority=priority, tags=tags)
        return RunHandle(self, await self._client.send(calls.start(self.id, run)))

    async def start_many(self, runs: Iterable[StartRun]) -> list[RunHandle]:
        """Start several runs in one commit, all or none.

        >>> await tenant.start_many([StartRun(workflow="send", key="a")])  # doctest: +SKIP
        """
        answer = await self._client.send(calls.start_many(self.id, [*runs]))
        return [RunHandle(self, started) for started in answer["runs"]]

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

    async def show(self) -> TenantView:
        """Return everything about the tenant.

        >>> (await tenant.show()).schema  # doctest: +SKIP
        'tenant_acme_corp'
        """
        return await self._client.send(calls.show_tenant(self.id))

    async def provision(self) -> TenantView:
        """Have the tenant's schema and roles made now instead of at first use.

        >>> (await tenant.provision()).provisioned_at  # doctest: +SKIP
        """
        return await self._client.send(calls.provision(self.id))


class RunHandle:
    """One started run; `known` when its key had been used before."""

    def __init__(self, tenant: TenantClient, started: Started) -> None:
        self._tenant = tenant
        self.id = started.id
        self.state = started.state
        self.known = started.known

    async def view(self) -> RunView:
        """Return everything about the run as it is now.

        >>> [task.state for task in (await run.view()).tasks]  # doctest: +SKIP
        """
        return await self._tenant.run(self.id)

    async def result(self, timeout: float | None = None) -> RunView:  # noqa: ASYNC109 - both twins
        """Wait until the run has finished, however; DeadlineExceeded after `timeout` seconds.

        >>> (await run.result(timeout=60)).output  # doctest: +SKIP
        """
        for wait in calls.polls(timeout):
            view = await self._tenant.run(self.id, wait=wait)
            if view.state.finished:
                return view
        raise calls.not_finished(self.id, timeout)
