"""The client for code without an event loop; import it from `orchestrator`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
from tenacity import Retrying

from orchestrator.client import calls
from orchestrator.client.archives import SyncTenantArchives
from orchestrator.client.call import Call, refusal
from orchestrator.client.lifecycle import SyncTenantLifecycle
from orchestrator.client.progress import ToldAnswer
from orchestrator.client.secrets import SyncTenantSecrets
from orchestrator.client.sending import RETRIES, TIMEOUT, Options, policy, request
from orchestrator.client.stream import FINISHED, PAUSE, EventReader
from orchestrator.client.tokens import SyncAdminTokens, SyncTenantTokens
from orchestrator.client.usage import SyncUsage
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
        plain_http: bool = False,
    ) -> None:
        self._options = Options.read(url, token, timeout, retries, plain_http=plain_http)
        self.tokens = SyncAdminTokens(self.send)
        self.usage = SyncUsage(self.send)
        address = self._options.address
        self._http = httpx.Client(
            base_url=address.base,
            headers=self._options.headers,
            # Given, so that a proxy of the environment is not asked for a daemon of this machine.
            transport=httpx.HTTPTransport(uds=address.socket, verify=address.encrypted),
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

    def stats(
        self, *, sort: FiguresOrder | str = FiguresOrder.ID, limit: int | None = None
    ) -> InstallationFigures:
        """Return all tenants in figures as they were last read, and their sums.

        With a `limit` only so many of them: by `sort` the largest, `runs`, `errors`, `size` …

        >>> client.stats(sort="errors", limit=5).tenants  # doctest: +SKIP
        """
        return self.send(calls.stats(sort, limit))

    def audit(self, tenant: str, *, limit: int = 50, cursor: int | None = None) -> AuditPage:
        """Return who did what to a tenant, newest first; `cursor` is that of the page before.

        Asked of the client, since it is there also when the tenant is not any more.

        >>> client.audit("acme_corp").entries[0].operation  # doctest: +SKIP
        'tenant.pause'
        """
        return self.send(calls.audit(tenant, limit, cursor))

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

    def migrate(
        self, wanted: MigrateTenants | None = None, report: Report | None = None
    ) -> MigrationReport:
        """Bring the schemas of tenants up to date, by default of all; see who `failed`.

        `report` hears how many are done.

        >>> (client.migrate(MigrateTenants(canary="acme_corp"))).failed  # doctest: +SKIP
        []
        """
        return self.send(calls.migrate(wanted or MigrateTenants()), report)

    def send(self, call: Call[T], report: Report | None = None) -> T:
        """Send one of `orchestrator.client.calls` and return its answer.

        Where the daemon tells how far it is, `report` hears of it.
        """
        if report is not None:
            return self._send_told(call.told, report)
        options = self._options
        try:
            answer: httpx.Response = Retrying(**policy(call, retries=options.retries))(
                self._http.request, **request(call, timeout=options.timeout)
            )
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        return call.decode(answer.status_code, answer.content)

    def _send_told(self, call: Call[T], report: Report) -> T:
        with self.open(call) as answer:
            if answer.headers.get("Content-Type") != NDJSON:
                return call.decode(answer.status_code, answer.read())
            told = ToldAnswer(call, report)
            for line in answer.iter_lines():
                told.feed(line)
            return told.result()

    def follow(self, tenant: str, run: UUID, after: int = -1) -> Iterator[EventView]:
        """Yield the events of a run as they happen, until it has finished.

        A connection that is lost is opened again, and goes on after the last event.

        >>> for event in client.follow("acme_corp", run.id):  # doctest: +SKIP
        ...     print(event.event)
        """
        patience = 0.0
        while True:
            call, seen = calls.follow_events(tenant, run, after, patience=patience), after
            with self.open(call) as answer:
                if answer.status_code == FINISHED:
                    return
                for event in _events(answer):
                    after = event.number
                    yield event
            if after == seen:
                time.sleep(PAUSE)
            patience = calls.FOLLOW_PATIENCE

    @contextmanager
    def open(self, call: Call[Any]) -> Iterator[httpx.Response]:
        """Send one of `orchestrator.client.calls`, and yield its answer as it comes."""
        options = self._options
        sent = self._http.build_request(**request(call, timeout=options.timeout))
        try:
            answer: httpx.Response = Retrying(**policy(call, retries=options.retries))(
                self._http.send, sent, stream=True
            )
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        try:
            if not answer.is_success:
                raise refusal(answer.status_code, answer.read())
            yield answer
        except httpx.HTTPError as error:
            raise options.address.explain(call, error) from error
        finally:
            answer.close()


class SyncTenantClient:
    """One tenant, seen from outside; `SyncClient.tenant` makes it."""

    def __init__(self, client: SyncClient, id: str) -> None:
        self._client = client
        self.id = id
        self.lifecycle = SyncTenantLifecycle(client.send, id)
        self.archives = SyncTenantArchives(client.send, client.open, id)
        self.secret = SyncTenantSecrets(client.send, id)
        self.tokens = SyncTenantTokens(client.send, id)

    def start(  # noqa: PLR0913 - one parameter for each option
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
    ) -> SyncRunHandle:
        """Start a run; it is durable when this returns. The same `key` gives the same run again.

        It begins after `delay` ("5m") or not before `at`, and has to end within `deadline` then.

        >>> run = tenant.start("monthly_report", {"month": 1}, key="2013-01")  # doctest: +SKIP
        """
        when = {"delay": delay, "at": at, "deadline": deadline}
        options = {"key": key, "queue": queue, "priority": priority, "tags": tags, **when}
        run = calls.new_run(workflow, input, **options)
        return self._handle(self._client.send(calls.start(self.id, run)))

    def start_many(self, runs: Iterable[StartRun]) -> list[SyncRunHandle]:
        """Start several runs in one commit, all or none.

        >>> tenant.start_many([StartRun(workflow="send", key="a")])  # doctest: +SKIP
        """
        answer = self._client.send(calls.start_many(self.id, [*runs]))
        return [self._handle(started) for started in answer["runs"]]

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

    def handle(self, id: UUID | str) -> SyncRunHandle:
        """Return the handle of a run that was started before; nothing is sent yet.

        >>> tenant.handle(run_id).cancel(reason="not needed")  # doctest: +SKIP
        """
        return SyncRunHandle(self._client, self.id, calls.run_id(id))

    def pause(self, workflow: str | None = None, *, reason: str = "") -> PauseView:
        """Let the tenant, or one of its workflows, start nothing until it is resumed.

        >>> tenant.pause("monthly_report")  # doctest: +SKIP
        """
        return self._client.send(calls.set_pause(self.id, workflow, paused=True, reason=reason))

    def resume(self, workflow: str | None = None) -> PauseView:
        """Take a pause back: the tenant's, or that of one workflow.

        >>> tenant.resume("monthly_report")  # doctest: +SKIP
        """
        return self._client.send(calls.set_pause(self.id, workflow, paused=False))

    def dead(self, *, limit: int = 50, cursor: str | None = None) -> RunPage:
        """Return a page of dead letters, the runs that failed for good, newest first.

        >>> (tenant.dead()).runs  # doctest: +SKIP
        """
        return self._client.send(calls.list_dead(self.id, limit, cursor))

    def replay(self, runs: Iterable[UUID | str] | None = None) -> DeadReport:
        """Retry dead letters: these, or the oldest thousand of all.

        >>> (tenant.replay()).left  # doctest: +SKIP
        0
        """
        return self._client.send(calls.change_dead(self.id, "replay", runs))

    def discard(self, runs: Iterable[UUID | str] | None = None) -> DeadReport:
        """Give dead letters up, these or the oldest thousand: they are not listed any more.

        >>> (tenant.discard([run.id])).done  # doctest: +SKIP
        """
        return self._client.send(calls.change_dead(self.id, "discard", runs))

    def schedules(self) -> list[ScheduleView]:
        """Return the tenant's schedules, by name.

        >>> [each.next_fire_at for each in tenant.schedules()]  # doctest: +SKIP
        """
        return (self._client.send(calls.list_schedules(self.id))).schedules

    def schedule(self, name: str) -> SyncScheduleHandle:
        """Return the handle of a schedule; nothing is sent yet.

        >>> tenant.schedule("nightly").fire()  # doctest: +SKIP
        """
        return SyncScheduleHandle(self._client, self.id, name)

    def show(self) -> TenantView:
        """Return everything about the tenant.

        >>> tenant.show().schema  # doctest: +SKIP
        'tenant_acme_corp'
        """
        return self._client.send(calls.show_tenant(self.id))

    def why(self) -> TenantWhy:
        """Return why the tenant runs or does not, and when it will.

        >>> tenant.why().because  # doctest: +SKIP
        'it has nothing to do now'
        """
        return self._client.send(calls.why_tenant(self.id))

    def provision(self) -> TenantView:
        """Have the tenant's schema and roles made now instead of at first use.

        >>> tenant.provision().provisioned_at  # doctest: +SKIP
        """
        return self._client.send(calls.provision(self.id))

    def _handle(self, started: Started) -> SyncRunHandle:
        return SyncRunHandle(
            self._client, self.id, started.id, state=started.state, known=started.known
        )


class SyncScheduleHandle:
    """One schedule of a tenant; `SyncTenantClient.schedule` makes it."""

    def __init__(self, client: SyncClient, tenant: str, name: str) -> None:
        self._client = client
        self._tenant = tenant
        self.name = name

    def pause(self) -> ScheduleView:
        """Let it start nothing until it is resumed; what passes meanwhile is not caught up.

        >>> tenant.schedule("nightly").pause()  # doctest: +SKIP
        """
        call = calls.pause_schedule(self._tenant, self.name, paused=True)
        return self._client.send(call)

    def resume(self) -> ScheduleView:
        """Let it go on from now.

        >>> (tenant.schedule("nightly").resume()).next_fire_at  # doctest: +SKIP
        """
        call = calls.pause_schedule(self._tenant, self.name, paused=False)
        return self._client.send(call)

    def fire(self) -> SyncRunHandle:
        """Start a run of it now, also while it is paused or an earlier run goes on.

        >>> run = tenant.schedule("nightly").fire()  # doctest: +SKIP
        """
        started = self._client.send(calls.fire_schedule(self._tenant, self.name))
        return SyncRunHandle(
            self._client, self._tenant, started.id, state=started.state, known=started.known
        )


class SyncRunHandle:
    """One run. When this client started it, `state` is its first, and `known` tells a used key."""

    def __init__(
        self,
        client: SyncClient,
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

    def view(self) -> RunView:
        """Return everything about the run as it is now.

        >>> [task.state for task in (run.view()).tasks]  # doctest: +SKIP
        """
        return self._client.send(calls.show_run(self._tenant, self.id))

    def result(self, timeout: float | None = None) -> RunView:
        """Wait until the run has finished, however; DeadlineExceeded after `timeout` seconds.

        >>> (run.result(timeout=60)).output  # doctest: +SKIP
        """
        for wait in calls.polls(timeout):
            view = self._client.send(calls.show_run(self._tenant, self.id, wait=wait))
            if view.state.finished:
                return view
        raise calls.not_finished(self.id, timeout)

    def events(self, *, after: int = -1, follow: bool = False) -> Iterator[EventView]:
        """Yield the events with a number above `after`; with `follow` until the run has finished.

        >>> for event in run.events(follow=True):  # doctest: +SKIP
        ...     print(event.number, event.event["event"])
        """
        if follow:
            for event in self._client.follow(self._tenant, self.id, after):
                yield event
            return
        while part := self._client.send(calls.list_events(self._tenant, self.id, after)):
            for event in part:
                yield event
            after = part[-1].number

    def cancel(self, *, reason: str = "") -> RunState:
        """Cancel the run and the children that depend on it; return its state.

        >>> run.cancel(reason="not needed any more")  # doctest: +SKIP
        """
        return self._change("cancel", reason)

    def pause(self, *, reason: str = "") -> RunState:
        """Let no further task of the run start until it is resumed; return its state.

        >>> run.pause()  # doctest: +SKIP
        """
        return self._change("pause", reason)

    def resume(self, *, reason: str = "") -> RunState:
        """Let a paused run go on; return its state.

        >>> run.resume()  # doctest: +SKIP
        """
        return self._change("resume", reason)

    def retry(self, *, reason: str = "") -> RunState:
        """Start the tasks of a failed run again that have not succeeded; return its state.

        >>> run.retry()  # doctest: +SKIP
        """
        return self._change("retry", reason)

    def repeat(self, task: str | None = None) -> SyncRunHandle:
        """Start a new run with the same input: as a whole, or from `task` on.

        >>> again = run.repeat("summarise")  # doctest: +SKIP
        """
        started = self._client.send(calls.repeat_run(self._tenant, self.id, task))
        return SyncRunHandle(
            self._client, self._tenant, started.id, state=started.state, known=started.known
        )

    def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send the run a signal for `ctx.wait_signal`; it is durable when this returns.

        >>> run.signal("approved", {"by": "ann"}, key="order-7")  # doctest: +SKIP
        """
        self._client.send(calls.send_signal(self._tenant, self.id, name, payload, key=key))

    def _change(self, verb: str, reason: str) -> RunState:
        call = calls.change_run(self._tenant, self.id, verb, reason)
        return (self._client.send(call)).state


def _events(answer: httpx.Response) -> Iterator[EventView]:
    reader = EventReader()
    # However the stream ends, it is asked for again from the last event on.
    with suppress(httpx.HTTPError):
        for piece in answer.iter_bytes():
            yield from reader.feed(piece)
