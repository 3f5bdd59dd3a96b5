"""A small platform to put behind the API: real enough to answer, and moved by hand. See `parts`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from orchestrator.http.services import Services
from orchestrator.model import errors
from orchestrator.model.api import (
    CreateTenant,
    DatabaseOutage,
    Failure,
    LoopBlocked,
    ReloadReport,
    RunPage,
    RunSummary,
    RunView,
    Started,
    StartRun,
    Status,
    TaskView,
    TenantSummary,
    TenantView,
    TenantWhy,
    Transition,
)
from orchestrator.model.ids import TenantId, app_role, engine_role, new_run_id, parse_tenant_id
from orchestrator.model.states import RunState, TaskState
from orchestrator.store.tenant.runs import RunFilter
from tests.http.parts.adoption import HandMadeAdoption
from tests.http.parts.archives import HandMadeArchives
from tests.http.parts.audit import HandMadeAudit
from tests.http.parts.lifecycle import HandMadeLifecycle
from tests.http.parts.maintenance import HandMadeMaintenance
from tests.http.parts.migration import HandMadeMigrations
from tests.http.parts.moves import HandMadeMoves
from tests.http.parts.schedules import HandMadeSchedules
from tests.http.parts.secrets import HandMadeSecrets
from tests.http.parts.statistics import HandMadeStatistics
from tests.http.parts.tokens import HandMadeTokens
from tests.http.parts.usage import HandMadeUsage
from tests.http.parts.verbs import SUMMARY, HandMadeDead, HandMadeRuns

SECRET = "a detail that is for the log alone"

_TENANT_SUMMARY = [field.name for field in msgspec.structs.fields(TenantSummary)]


class HandMadePlatform(HandMadeRuns):
    """Tenants and runs in memory, moved by hand.

    A run of workflow `quick` is over at once, one of `broken` has failed, any other waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.views: dict[TenantId, TenantView] = {}
        self.dead = HandMadeDead(self)
        self.schedules = HandMadeSchedules()
        self.audit = HandMadeAudit()
        self.lifecycle = HandMadeLifecycle(self)
        self.archives = HandMadeArchives(self)
        self.moves = HandMadeMoves()
        self.used: list[TenantId] = []
        self.put_away: set[str] = set()
        self.secrets = HandMadeSecrets()
        self.tokens = HandMadeTokens()
        self.tokens.put_away = self.put_away
        self.statistics = HandMadeStatistics(self.tenants)
        self.migrations = HandMadeMigrations()
        self.started: list[StartRun] = []
        self.draining = False
        self.blocked: LoopBlocked | None = None
        self.in_quarantine: dict[str, int] = {}
        self.report = ReloadReport(applied=True, generation=2, added=["globex"])
        self.reloads = 0
        self.looks = 0
        self.add("acme_corp", name="ACME Corporation", aliases=["acme-corp"], tier="basic")

    def add(self, id: str, **fields: Any) -> TenantView:
        tenant = parse_tenant_id(id)
        view = TenantView(
            id=tenant,
            name=fields.get("name") or id,
            tier=fields.get("tier"),
            source=fields.get("source", "file"),
            enabled=True,
            state=fields.get("state", "dormant"),
            aliases=fields.get("aliases", []),
            schema=f"tenant_{id}",
            engine_role=engine_role(tenant),
            app_role=app_role(tenant),
            declaration=fields.get("declaration", {}),
        )
        self.views[tenant] = view
        self.runs[tenant] = {}
        return view

    def services(self) -> Services:
        return Services(
            platform=self,
            dead=self.dead,
            schedules=self.schedules,
            audit=self.audit,
            lifecycle=self.lifecycle,
            archives=self.archives,
            moves=self.moves,
            use=self.used.append,
            statistics=self.statistics,
            usage=HandMadeUsage(),
            maintenance=HandMadeMaintenance(),
            secrets=self.secrets,
            tokens=self.tokens,
            migrations=self.migrations,
            adoption=HandMadeAdoption(),
            status=self.status,
            reload=self.reload,
        )

    def resolve(self, name: str) -> TenantId:
        for tenant, view in self.views.items():
            if name == tenant or name.lower() in view.aliases:
                return tenant
        parse_tenant_id(name)
        if name in self.put_away:
            raise errors.TenantArchived(name)
        raise errors.TenantNotFound(name)

    async def start_runs(self, tenant: TenantId, runs: list[StartRun]) -> list[Started]:
        if self.refuse is not None:
            raise self.refuse
        for run in runs:
            if run.workflow not in {"quick", "slow", "broken"}:
                raise errors.WorkflowNotFound(f"no workflow {run.workflow!r} is served here")
        self.started += runs
        return [self._start(tenant, run) for run in runs]

    async def read_runs(self, tenant: TenantId, wanted: RunFilter, /) -> RunPage:
        found = [
            RunSummary(**{name: getattr(run, name) for name in SUMMARY})
            for run in sorted(self.runs[tenant].values(), key=lambda run: run.id, reverse=True)
            if (wanted.states is None or run.state in wanted.states)
            and wanted.workflow in {None, run.workflow}
            and (wanted.since is None or run.created_at >= wanted.since)
            and (wanted.cursor is None or run.id < wanted.cursor)
        ]
        page = found[: wanted.limit]
        more = len(found) > len(page)
        return RunPage(runs=page, cursor=str(page[-1].id) if more else None)

    async def read_run(self, tenant: TenantId, run: UUID, /) -> RunView:
        self.looks += 1
        try:
            return self.runs[tenant][run]
        except KeyError:
            raise errors.RunNotFound(f"no run {run} of tenant {tenant!r}") from None

    async def listed(self) -> list[TenantSummary]:
        return self.tenants()

    def tenants(self) -> list[TenantSummary]:
        return [
            TenantSummary(**{name: getattr(view, name) for name in _TENANT_SUMMARY})
            for _, view in sorted(self.views.items())
        ]

    async def read_tenant(self, tenant: TenantId) -> TenantView:
        return self.views[tenant]

    async def why(self, tenant: TenantId) -> TenantWhy:
        if tenant not in self.views:
            raise errors.TenantNotFound(tenant)
        at = datetime(2026, 1, 1, tzinfo=UTC)
        told = Transition(at=at, node="a", state="quarantined", reason="no right", next_at=at)
        return TenantWhy(
            tenant=tenant,
            state="quarantined",
            because="it needs somebody: no right",
            next_at=at,
            alerts=self.views[tenant].alerts,
            transitions=[told],
        )

    async def create_tenant(self, request: CreateTenant, /) -> TenantView:
        if request.id in self.views:
            raise errors.TenantExists(request.id, f"tenant {request.id!r} is there already")
        return self.add(
            request.id,
            name=request.name,
            tier=request.tier,
            aliases=request.aliases,
            source="api",
            declaration={"set": request.set},
        )

    async def provision(self, tenant: TenantId) -> TenantView:
        view = msgspec.structs.replace(self.views[tenant], engine_version=1)
        self.views[tenant] = view
        return view

    async def status(self) -> Status:
        outage = None
        if isinstance(self.refuse, errors.DatabaseUnavailable):
            outage = DatabaseOutage(since=datetime.now(UTC), error=str(self.refuse))
        return Status(
            node="a",
            incarnation=UUID(int=1),
            version="0.1.0",
            pid=os.getpid(),
            started_at=datetime.now(UTC),
            generation=1,
            config_digest="0" * 64,
            draining=self.draining,
            tenants=len(self.views),
            slots={"dormant": len(self.views), **self.in_quarantine},
            running_tasks=5,
            max_concurrent_tasks=64,
            busiest={"acme_corp": 4, "globex": 1},
            quarantined=["globex", "wonka"] if self.in_quarantine else [],
            max_awake_tenants=100,
            database="embedded",
            database_version="18",
            database_outage=outage,
            loop_lag_ms=0.1,
            loop_blocked=self.blocked,
        )

    async def reload(self) -> ReloadReport:
        self.reloads += 1
        if self.refuse is not None:
            raise self.refuse
        return self.report

    def _start(self, tenant: TenantId, run: StartRun) -> Started:
        for known in self.runs[tenant].values():
            if run.key is not None and known.key == run.key:
                return Started(id=known.id, state=known.state, known=True)
        now = datetime.now(UTC)
        view = RunView(
            id=new_run_id(),
            workflow=run.workflow,
            version="1",
            state=RunState.RUNNING,
            queue=run.queue or "default",
            priority=run.priority,
            created_at=now,
            started_at=now,
            key=run.key,
            input=run.input,
            tags=run.tags,
            tasks=[TaskView(name="load", state=TaskState.RUNNING, attempt=1, started_at=now)],
        )
        self.runs[tenant][view.id] = view
        self.tell(view.id, "run.started")
        if run.workflow == "quick":
            self.finish(tenant, view.id, output=42, context={**run.input, "flights": 3})
        if run.workflow == "broken":
            failure = Failure(
                type="ValueError",
                message="no such file",
                task="load",
                traceback="Traceback (most recent call last):\nValueError: no such file",
            )
            self.finish(tenant, view.id, state=RunState.FAILED, error=failure)
        return Started(id=view.id, state=RunState.QUEUED)
