"""What the API can ask of tenants and runs.

The root supervisor does the work, the control connections do the reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio
import msgspec
import structlog

from orchestrator.daemon.pauses import ToldPauses, pauses_of, shown, with_told
from orchestrator.daemon.why import (
    explain,
    explain_absence,
    told_of,
    told_of_slots,
    told_of_wait,
)
from orchestrator.engine import views
from orchestrator.engine.control import Verb
from orchestrator.lifecycle.holders import in_the_way
from orchestrator.model.api import (
    Alert,
    CreateTenant,
    EventView,
    RunPage,
    RunView,
    Started,
    StartRun,
    TenantPause,
    TenantSummary,
    TenantView,
    TenantWhy,
    Transition,
)
from orchestrator.model.errors import (
    InvalidTenantId,
    QuotaExceeded,
    RunConflict,
    RunNotFound,
    TenantNotFound,
    Unavailable,
)
from orchestrator.model.ids import (
    TenantId,
    app_role,
    engine_role,
    folded,
    new_run_id,
    schema_of,
)
from orchestrator.model.states import RunState
from orchestrator.quota.alerts import WINDOWS
from orchestrator.settings.duration import enc_hook
from orchestrator.store.connect import Connection
from orchestrator.store.control import configuration, transitions, usage
from orchestrator.store.control.audit import archived_by
from orchestrator.store.control.tenants import TenantRow, unfit
from orchestrator.store.control.transitions import Outlook
from orchestrator.store.shards import Shards
from orchestrator.store.tenant import runs as stored_runs
from orchestrator.store.tenant.journal import Sent
from orchestrator.store.tenant.payloads import Payloads, payloads
from orchestrator.store.tenant.runs import RunFilter
from orchestrator.store.tenant.secrets import RingKey, ring
from orchestrator.workflow.registry import Registry
from supervisors.ground import Ground, Prepare
from supervisors.root import RootSupervisor
from supervisors.slot import Slot, SlotState
from supervisors.standing import Standing

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 2.0
"""How long the database may take to say what a tenant's row holds, before memory has to do."""

EVENT_ROWS = 500
"""Rows of a journal in one answer; a row holds what one flush wrote of the run."""


@dataclass(frozen=True)
class TenantPlatform:
    """`Platform` of `http.services`.

    `register` and `prepare` are the daemon's own procedures.
    """

    root: RootSupervisor
    shards: Shards
    registry: Registry
    node: str
    role_prefix: str
    standing: Standing
    remembered: Callable[[TenantId], TenantRow | None]
    absent: Callable[[], Iterable[TenantRow]]
    register: Callable[[CreateTenant], Awaitable[TenantId]]
    prepare: Prepare
    ground: Ground

    def resolve(self, name: str) -> TenantId:
        """Return the tenant of that id or alias; InvalidTenantId or TenantNotFound else."""
        try:
            return self.root.resolve(name)
        except (TenantNotFound, InvalidTenantId):
            for row in self.absent():
                if name == row.id or folded(name) in _aliases(row):
                    raise unfit(row) from None
            raise

    async def start_runs(self, tenant: TenantId, runs: list[StartRun]) -> list[Started]:
        """Accept all of the runs, or none; they are durable when this returns."""
        return await self.root.submit(tenant, runs)

    async def read_runs(self, tenant: TenantId, wanted: RunFilter) -> RunPage:
        """Return a page of runs, newest first."""
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if connection is None:
                return RunPage(runs=[])
            listed = await stored_runs.page(connection, schema_of(tenant), wanted)
        return views.page_of(listed, wanted.limit)

    async def read_run(self, tenant: TenantId, run: UUID) -> RunView:
        """Return everything about one run; RunNotFound when there is none."""
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if connection is None:
                raise _no_run(tenant, run)
            schema = schema_of(tenant)
            found = await stored_runs.read(connection, schema, run)
            if found is None:
                raise _no_run(tenant, run)
            history = await stored_runs.history(connection, schema, run)
            sealing = await ring(connection, schema)
        plain = await self._opener(tenant, sealing)
        return views.view_of(plain.opened(found), plain.opened_history(run, history), self.registry)

    async def send_signal(
        self, tenant: TenantId, run: UUID, name: str, payload: Any, *, key: str | None = None
    ) -> None:
        """Deliver a signal to a run; sent again with the same key, it is the same signal."""
        text = msgspec.json.encode(payload)
        allowed = self.root.slot(tenant).config.limits.max_payload_bytes
        if allowed is not None and len(text) > allowed:
            raise QuotaExceeded(tenant, limit="max_payload_bytes", allowed=allowed)
        try:
            await self.root.send_signal(tenant, Sent(run, new_run_id(), name, key, text.decode()))
        except RunConflict as error:
            # One statement looks for the runs that can take a signal; why one can not is read here.
            async with self.shards.tenant(tenant) as (row, connection):
                if connection is None or not await stored_runs.exists(
                    connection, row.schema_name, run
                ):
                    raise _no_run(tenant, run) from error
            raise RunConflict(f"run {run} has finished, so it takes no signal") from error

    async def change_run(
        self, tenant: TenantId, run: UUID, verb: Verb, *, reason: str = ""
    ) -> RunState:
        """Cancel, pause, resume or retry a run; return its state."""
        return await self.root.change_run(tenant, run, verb, reason)

    async def repeat_run(self, tenant: TenantId, run: UUID, task: str | None) -> Started:
        """Start a run again with its input: as a whole, or from `task` on."""
        return await self.root.repeat_run(tenant, run, task)

    async def set_pause(
        self, tenant: TenantId, workflow: str | None, *, paused: bool, reason: str = ""
    ) -> None:
        """Let a workflow, or the whole tenant, start nothing for now, or again.

        Only a workflow that is served can be paused, so that a misspelt one is noticed.
        """
        if paused and workflow is not None:
            self.registry.find(workflow)
        await self.root.set_pause(tenant, workflow or "", paused=paused, reason=reason)

    async def read_events(self, tenant: TenantId, run: UUID, after: int) -> list[EventView]:
        """Return a part of the run's events, those with the next numbers above `after`.

        RunNotFound when there is no such run; an empty part is the end for now.
        """
        async with of_tenant(self.root, self.shards, tenant) as connection:
            if connection is None:
                raise _no_run(tenant, run)
            schema = schema_of(tenant)
            history = await stored_runs.history(
                connection, schema, run, first=after + 1, limit=EVENT_ROWS
            )
            if not history and not await stored_runs.exists(connection, schema, run):
                raise _no_run(tenant, run)
            sealing = await ring(connection, schema)
        plain = await self._opener(tenant, sealing)
        return views.events_of(plain.opened_history(run, history), after)

    def tenants(self) -> list[TenantSummary]:
        """Return every tenant, by id, those that are being deleted or are archived among them."""
        slots = self.root.slots
        gone = [_farewell_of(row) for row in self.absent() if row.id not in slots]
        return sorted([*map(summary_of, slots.values()), *gone], key=lambda each: each.id)

    async def listed(self) -> list[TenantSummary]:
        """Return every tenant, with the limits that it came near to and what of it is paused.

        Two queries for all of them; none of a tenant.
        """
        alerts = await self._alerts()
        told = await ToldPauses(self.shards.control, self.standing).of_all()
        return [
            msgspec.structs.replace(
                each,
                pauses=with_told(each, told),
                alerts=None if alerts is None else alerts.get(each.id, []),
            )
            for each in self.tenants()
        ]

    async def read_tenant(self, tenant: TenantId) -> TenantView:
        """Return everything about one tenant."""
        slot = self.root.slot(tenant)
        row = await self._row(tenant)
        wanted, applied = await self._hashes(tenant)
        return msgspec.structs.replace(
            self._view(slot, row),
            pauses=await self._pauses(slot, row),
            alerts=await self._alerts_of(tenant),
            config_hash=wanted,
            applied_config_hash=applied,
        )

    async def _hashes(self, tenant: TenantId) -> tuple[str | None, str | None]:
        """Return what the registry has of its configuration; nothing when it does not answer."""
        if self.standing.outage is not None:
            return None, None
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with self.shards.control.acquire() as connection:
                    return await configuration.hashes(connection, tenant)
        except (Unavailable, TimeoutError) as error:
            log.warning("tenant.shown_from_memory", tenant=tenant, error=str(error))
            return None, None

    async def _alerts_of(self, tenant: TenantId) -> list[Alert] | None:
        found = await self._alerts(tenant)
        return None if found is None else found.get(tenant, [])

    async def _alerts(self, tenant: TenantId | None = None) -> Mapping[str, list[Alert]] | None:
        """Return the alerts that still count, by tenant; None when the database does not answer."""
        if self.standing.outage is not None:
            return None
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with self.shards.control.acquire() as connection:
                    return await usage.current(connection, WINDOWS, tenant)
        except (Unavailable, TimeoutError) as error:
            log.warning("tenants.alerts_not_read", error=str(error))
            return None

    async def _pauses(self, slot: Slot, row: TenantRow | None) -> list[TenantPause] | None:
        """Return what is paused; of a tenant that sleeps the database knows, when it answers."""
        if slot.engine is not None or self.standing.outage is not None:
            return pauses_of(slot)
        if row is None or row.provisioned_at is None:
            return []
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with self.shards.lend(row) as connection:
                    found = await stored_runs.pauses(connection, row.schema_name)
        except (Unavailable, TimeoutError) as error:
            log.warning("tenant.shown_from_memory", tenant=slot.config.id, error=str(error))
            return None
        return None if found is None else shown(found)

    async def _opener(self, tenant: TenantId, stored: Sequence[RingKey]) -> Payloads:
        """Return what opens the tenant's payloads; most tenants have none that is sealed."""
        sealed = [each for each in stored if each.payloads]
        if not sealed:
            return Payloads([], None)
        keys = await self.ground.keys.of(tenant, [each.wrapped_by for each in sealed])
        return payloads(sealed, keys, seal=False)

    async def _row(self, tenant: TenantId) -> TenantRow | None:
        """Return the tenant's row; what is remembered of it when the database does not answer."""
        row = self.remembered(tenant)
        if self.standing.outage is not None:
            return row
        try:
            with anyio.move_on_after(ANSWER_SECONDS):
                row = await self.shards.row(tenant)
        except Unavailable as error:
            log.warning("tenant.shown_from_memory", tenant=tenant, error=str(error))
        return row

    async def why(self, tenant: TenantId) -> TenantWhy:
        """Return why a tenant runs or does not; what this node knows when the database is away."""
        slot = self.root.slots.get(tenant)
        outlook, stored = await self._written_of(tenant)
        if slot is None:
            return await self._why_absent(tenant, stored)
        row = self.remembered(tenant)  # as old as the slot's configuration, which it explains
        outages = [
            self.standing.outage,
            *(r.outage for r in self.shards.reaches(slot.config.shard)),
        ]
        outage = next(filter(None, outages), None)
        because, next_at = explain(slot, row, outlook, node=self.node, outage=outage)
        because += told_of_slots(slot, self.ground.slots)
        because += await self._wait(slot, row)
        pauses = await self._pauses(slot, row) or ()
        because += "".join(f"; {told_of(pause)}" for pause in pauses)
        return TenantWhy(
            tenant=tenant,
            state=state_of(slot),
            because=because,
            next_at=next_at,
            served_by=outlook.served_by,
            alerts=outlook.alerts,
            transitions=_told(stored),
        )

    async def _wait(self, slot: Slot, row: TenantRow | None) -> str:
        """Return what the tenant waits for that somebody else has locked; '' for nothing."""
        since = None if slot.engine is None else slot.engine.held_up_since
        if since is None or row is None:
            return ""
        found: list[str] = []
        try:
            with anyio.move_on_after(ANSWER_SECONDS):
                async with self.shards.lend(row) as connection:
                    login = engine_role(slot.config.id, prefix=self.role_prefix)
                    found = await in_the_way(connection, login)
        except Unavailable as error:
            log.warning("tenant.holders_not_read", tenant=slot.config.id, error=str(error))
        return told_of_wait(since, found)

    async def _why_absent(self, tenant: TenantId, stored: list[transitions.Stored]) -> TenantWhy:
        """Return why a tenant without a slot is archived, or is being deleted; TenantNotFound."""
        row = next((each for each in self.absent() if each.id == tenant), None)
        if row is None:
            raise TenantNotFound(tenant)
        node = None
        if self.standing.outage is None:
            async with self.shards.control.acquire() as connection:
                node = await archived_by(connection, tenant)
        because = explain_absence(row, node)
        return TenantWhy(tenant=tenant, state=row.state, because=because, transitions=_told(stored))

    async def _written_of(self, tenant: TenantId) -> tuple[Outlook, list[transitions.Stored]]:
        """Return what the database says of a tenant; nothing when it does not answer."""
        if self.standing.outage is not None:
            return Outlook(), []
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await self.root.history.flush()
                async with self.shards.control.acquire() as connection:
                    return await transitions.written(connection, tenant, WINDOWS)
        except (Unavailable, TimeoutError) as error:
            log.warning("tenant.shown_from_memory", tenant=tenant, error=str(error))
            return Outlook(), []

    async def create_tenant(self, request: CreateTenant) -> TenantView:
        """Register a tenant; TenantExists when its id or an alias is taken."""
        return await self.read_tenant(await self.register(request))

    async def provision(self, tenant: TenantId) -> TenantView:
        """Make the tenant's schema and roles now instead of at first use."""
        await self.prepare(self.root.slot(tenant).config.id, again=True)
        return await self.read_tenant(tenant)

    def _view(self, slot: Slot, row: TenantRow | None) -> TenantView:
        summary = summary_of(slot)
        view = TenantView(
            **{name: getattr(summary, name) for name in TenantSummary.__struct_fields__},
            schema=schema_of(slot.config.id),
            engine_role=engine_role(slot.config.id, prefix=self.role_prefix),
            app_role=app_role(slot.config.id, prefix=self.role_prefix),
            shard=slot.config.shard,
            epoch=slot.epoch,
            retry_at=slot.retry_at,
            last_error=slot.last_error,
            declaration=msgspec.to_builtins(slot.config, enc_hook=enc_hook),
        )
        if row is None:
            return view
        return msgspec.structs.replace(
            view,
            engine_version=row.engine_version,
            app_version=row.app_version,
            provisioned_at=row.provisioned_at,
            last_active_at=row.last_active_at,
        )


@asynccontextmanager
async def of_tenant(
    root: RootSupervisor, shards: Shards, tenant: TenantId
) -> AsyncIterator[Connection | None]:
    """Lend a connection to the tenant's tables; None when they were never made.

    A declared tenant may never have been used. TenantNotFound when it is not declared, and
    DatabaseUnavailable at once when a server is known to be silent.
    """
    root.ground.check_answers(root.slot(tenant).config)
    async with shards.tenant(tenant) as (_, connection):
        yield connection


def summary_of(slot: Slot) -> TenantSummary:
    """Return one line about a tenant."""
    config = slot.config
    return TenantSummary(
        id=config.id,
        name=config.name,
        tier=config.tier,
        source=config.source,
        enabled=config.enabled,
        state=state_of(slot),
        held_for=config.held_for,
        aliases=list(config.aliases),
        disabled_because=config.disabled_because,
        pauses=pauses_of(slot),
    )


def state_of(slot: Slot) -> str:
    """Return where a tenant stands, in a word."""
    if slot.removed:
        return "removing"
    held = slot.state is SlotState.SUSPENDED and slot.config.enabled
    return "held" if held else str(slot.state)


def _told(stored: Iterable[transitions.Stored]) -> list[Transition]:
    return [Transition(**msgspec.structs.asdict(each)) for each in stored]


def _farewell_of(row: TenantRow) -> TenantSummary:
    """Return one line about a tenant that is being deleted, or is archived."""
    return TenantSummary(
        id=row.id, name=row.id, tier=None, source=row.source, enabled=False, state=row.state
    )


def _aliases(row: TenantRow) -> list[str]:
    declared: dict[str, Any] = msgspec.json.decode(row.declaration)
    return [alias.casefold() for alias in declared.get("aliases", ())]


def _no_run(tenant: TenantId, run: UUID) -> RunNotFound:
    return RunNotFound(
        f"tenant {tenant!r} has no run {run}", hint=f"see `insula run list {tenant}`"
    )
