"""The client for code without an event loop; import it from `orchestrator`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
from tenacity import Retrying

from orchestrator.client import calls
from orchestrator.client.address import RETRIES, TIMEOUT, Options, policy, request
from orchestrator.client.calls import Call
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

T = TypeVar("T")


class SyncClient:
    """The twin of `Client` for code without an event loop; it may be shared by threads.

    >>> with SyncClient("unix:///run/insula/insula.sock") as client:  # doctest: +SKIP
    ...     print(client.status())
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
        self._http = httpx.Client(
            base_url=address.base,
            headers=self._options.headers,
            # Given, so that a proxy of the environment is not asked for a daemon of this machine.
            transport=httpx.HTTPTransport(uds=address.socket),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; `with` does it."""
        self._http.close()

    def tenant(self, id: str) -> SyncTenantClient:
        """Return the tenant of that id or alias; nothing is sent yet.

        >>> acme = client.tenant("acme_corp")  # doctest: +SKIP
        """
        return SyncTenantClient(self, id)

    def status(self) -> Status:
        """Return the node at a glance.

        >>> client.status().slots  # doctest: +SKIP
        {'awake': 3, 'dormant': 97}
        """
        return self.send(calls.status())

    def reload(self) -> ReloadReport:
        """Have the configuration read again; `applied` tells whether it was taken.

        >>> client.reload().added  # doctest: +SKIP
        ['globex']
        """
        return self.send(calls.reload())

    def tenants(self) -> list[TenantSummary]:
        """Return all tenants, by id.

        >>> [tenant.id for tenant in client.tenants()]  # doctest: +SKIP
        ['acme_corp', 'globex']
        """
        return self.send(calls.tenants()).tenants

    def create_tenant(
        self,
        id: str,
        *,
        name: str | None = None,
        tier: str | None = None,
        aliases: Iterable[str] = (),
        set: Mapping[str, Any] | None = None,
    ) -> TenantView:
        """Register a tenant at run time; `set` has dotted paths of its declaration.

        >>> client.create_tenant("globex", tier="basic")  # doctest: +SKIP
        """
        created = CreateTenant(id=id, name=name, tier=tier, aliases=[*aliases], set={**(set or {})})
        return self.send(calls.create_tenant(created))

    def send(self, call: Call[T]) -> T:
        """Send one of `orchestrator.client.calls` and return its answer."""
        options = self._options
        try:
            answer: httpx.Response = Retrying(**policy(call, retries=options.retries))(
                self._http.request, **request(call, timeout=options.timeout)
            )
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        return call.decode(answer.status_code, answer.content)


class SyncTenantClient:
    """One tenant, seen from outside; `SyncClient.tenant` makes it."""

    def __init__(self, client: SyncClient, id: str) -> None:
        self._client = client
        self.id = id

    def start(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        queue: str | None = None,
        priority: int = 0,
        tags: Iterable[str] = (),
    ) -> SyncRunHandle:
        """Start a run; it is durable when this returns. The same `key` gives the same run again.

        >>> run = tenant.start("monthly_report", {"month": 1}, key="2013-01")  # doctest: +SKIP
        """
        run = calls.new_run(workflow, input, key=key, queue=queue, priority=priority, tags=tags)
        return SyncRunHandle(self, self._client.send(calls.start(self.id, run)))

    def start_many(self, runs: Iterable[StartRun]) -> list[SyncRunHandle]:
        """Start several runs in one commit, all or none.

        >>> tenant.start_many([StartRun(workflow="send", key="a")])  # doctest: +SKIP
        """
        answer = self._client.send(calls.start_many(self.id, [*runs]))
        return [SyncRunHandle(self, started) for started in answer["runs"]]

    def runs(
        self,
        *,
        state: RunState | str | None = None,
        workflow: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """Return a page of runs, newest first; pass its `cursor` for the next one.

        >>> tenant.runs(state="failed", limit=10).runs  # doctest: +SKIP
        """
        wanted = calls.Runs(state, workflow, since, limit, cursor)
        return self._client.send(calls.list_runs(self.id, wanted))

    def run(self, id: UUID | str, *, wait: float = 0.0) -> RunView:
        """Return everything about one run, after at most `wait` seconds in which it may finish.

        >>> tenant.run(run_id).state  # doctest: +SKIP
        """
        return self._client.send(calls.show_run(self.id, id, wait=wait))

    def show(self) -> TenantView:
        """Return everything about the tenant.

        >>> tenant.show().schema  # doctest: +SKIP
        'tenant_acme_corp'
        """
        return self._client.send(calls.show_tenant(self.id))

    def provision(self) -> TenantView:
        """Have the tenant's schema and roles made now instead of at first use.

        >>> tenant.provision().provisioned_at  # doctest: +SKIP
        """
        return self._client.send(calls.provision(self.id))


class SyncRunHandle:
    """One started run; `known` when its key had been used before."""

    def __init__(self, tenant: SyncTenantClient, started: Started) -> None:
        self._tenant = tenant
        self.id = started.id
        self.state = started.state
        self.known = started.known

    def view(self) -> RunView:
        """Return everything about the run as it is now.

        >>> [task.state for task in run.view().tasks]  # doctest: +SKIP
        """
        return self._tenant.run(self.id)

    def result(self, timeout: float | None = None) -> RunView:
        """Wait until the run has finished, however; DeadlineExceeded after `timeout` seconds.

        >>> run.result(timeout=60).output  # doctest: +SKIP
        """
        for wait in calls.polls(timeout):
            view = self._tenant.run(self.id, wait=wait)
            if view.state.finished:
                return view
        raise calls.not_finished(self.id, timeout)
