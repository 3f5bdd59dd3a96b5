"""What crosses the API: request and response structs, shared by server and clients."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from orchestrator.model.ids import CONTROL_SHARD
from orchestrator.model.states import RunState, TaskState
from orchestrator.model.text import LINE

NAME_CHARACTERS = 255
REASON_CHARACTERS = 1000
MOST_TAGS = 1000
"""Tags of one run."""

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request; what one run may carry is the tenant's `limits.max_payload_bytes`."""

MANY = 10_000
"""Runs that one request may start: one commit, for which the tenant's other requests wait."""

BATCH = 1000
"""Dead letters in one request. Each is work for one supervisor, and its other requests wait."""

LONGEST_WAIT = 3600.0
"""Seconds that runs may be waited for by one request."""

Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS, pattern=LINE)]
Reason = Annotated[str, Meta(max_length=REASON_CHARACTERS, pattern=LINE)]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything on the wire.

    Requests refuse unknown fields; answers take them, so an older client understands a newer
    daemon.
    """


class StartRun(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/runs`. `input` is the run's first context.

    It starts after `delay` ("5m") or not before `at`, and fails when it has not ended within
    `deadline` from then.
    """

    workflow: Name
    input: dict[str, Any] = {}
    key: Name | None = None
    queue: Name | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = 0
    tags: Annotated[list[Name], Meta(max_length=MOST_TAGS)] = []
    delay: str | None = None
    at: datetime | None = None
    deadline: str | None = None


class StartRuns(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/runs` with several runs; all are accepted, or none."""

    runs: Annotated[list[StartRun], Meta(min_length=1, max_length=MANY)]


class Started(Wire, frozen=True, kw_only=True):
    """One accepted run; `known` when the idempotency key had been used before."""

    id: UUID
    state: RunState
    known: bool = False


class ChangeRun(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST …/runs/{run}/{verb}`, which may be left out; the reason goes into the log."""

    reason: Reason = ""


class ChangedRun(Wire, frozen=True, kw_only=True):
    """Where a run stands after it was changed."""

    id: UUID
    state: RunState


class RepeatRun(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST …/runs/{run}/repeat`: from a task on, or as a whole."""

    task: Annotated[Name | None, Meta(description="the first task to do again")] = msgspec.field(
        default=None, name="from"
    )


class SetPause(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/pause` and `…/resume`: one workflow, or everything.

    The reason of a pause is shown until it ends.
    """

    workflow: Name | None = None
    reason: Reason = ""


class TenantPause(Wire, frozen=True, kw_only=True):
    """What starts nothing for now, since when and why; without a workflow the whole tenant."""

    workflow: str | None
    since: datetime
    reason: str = ""


class PauseView(Wire, frozen=True, kw_only=True):
    """What was paused or resumed; without a workflow the whole tenant."""

    tenant: str
    workflow: str | None
    paused: bool


class DeadSelection(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST …/dead/replay` and `…/dead/discard`: these runs, or the oldest of all."""

    runs: Annotated[list[UUID], Meta(min_length=1, max_length=BATCH)] | None = None


class RefusedRun(Wire, frozen=True, kw_only=True):
    """One run that was left as it is, with the error that says why."""

    run: UUID
    code: str
    detail: str


class DeadReport(Wire, frozen=True, kw_only=True):
    """What a bulk change did; `left` is how many dead letters there still are."""

    done: list[UUID]
    refused: list[RefusedRun] = []
    left: int = 0


class Failure(Wire, frozen=True, kw_only=True):
    """Why a task or run failed; text and traceback are bounded."""

    type: str
    message: str
    task: str | None = None
    traceback: str | None = None


class EventView(Wire, frozen=True, kw_only=True):
    """One event of a run; `number` counts from 0 without gaps, `at` is the database's time."""

    number: int
    at: datetime
    epoch: int
    node: str
    event: dict[str, Any]


class TaskView(Wire, frozen=True, kw_only=True):
    """One task of a run; times are the database's."""

    name: str
    state: TaskState
    attempt: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    output: Any = None
    error: Failure | None = None


class RunSummary(Wire, frozen=True, kw_only=True):
    """One line of `insula run list`."""

    id: UUID
    workflow: str
    version: str
    state: RunState
    queue: str
    priority: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    key: str | None = None


class RunView(RunSummary, frozen=True, kw_only=True):
    """Everything about one run. `context` is the merge of the input and what its tasks set.

    `reason` is what was given when it was last cancelled, paused, resumed or retried. `due_at` is
    when a run that is put off begins, or one that rests goes on by itself.
    """

    input: dict[str, Any] = {}
    output: Any = None
    context: dict[str, Any] | None = None
    error: Failure | None = None
    tags: list[str] = []
    tasks: list[TaskView] = []
    reason: str = ""
    due_at: datetime | None = None
    deadline_at: datetime | None = None


class RunPage(Wire, frozen=True, kw_only=True):
    """A page of runs, newest first; pass `cursor` back for the next one."""

    runs: list[RunSummary]
    cursor: str | None = None


class CreateTenant(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants`: a tenant registered at run time."""

    id: str
    name: str | None = None
    tier: str | None = None
    aliases: list[str] = []
    set: dict[str, Any] = {}


class UpdateTenant(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `PATCH /v1/tenants/{id}`: what is not named stays; `unset` has dotted paths."""

    name: str | None = None
    tier: str | None = None
    aliases: list[str] | None = None
    set: dict[str, Any] = {}
    unset: list[str] = []


class DisableTenant(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/disable`; it may be left out."""

    reason: Reason = ""


class RenameTenant(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tenants/{id}/rename`.

    With `alias` the old id leads to the tenant still. Unless it is to `force`, unfinished runs keep
    it from being renamed, after `wait` seconds in which they may end; they go on afterwards.
    """

    to: str
    alias: bool = True
    force: bool = False
    wait: Annotated[float, Meta(ge=0, le=LONGEST_WAIT)] = 0.0


class DeletedTenant(Wire, frozen=True, kw_only=True):
    """What the deletion of a tenant took away; `results` is the file with its finished runs.

    `schema` is null when the tenant had no tables. `left` is the archive of a tenant that was
    archived, when another node has it: it is to be deleted there.
    """

    tenant: str
    schema: str | None
    roles: list[str]
    runs_kept: int = 0
    results: str | None = None
    left: str | None = None


class ErasedTenant(Wire, frozen=True, kw_only=True):
    """A tenant that is gone, and what was ever sealed for it lost; `keys` of it are destroyed.

    `former_keys` are those of former tenants of its id, which still open what was sealed for them.
    `left` as after a deletion.
    """

    tenant: str
    schema: str | None
    roles: list[str]
    keys: int
    former_keys: int = 0
    left: str | None = None


class RotatedCredentials(Wire, frozen=True, kw_only=True):
    """The logins of a tenant that have new passwords since now; `rotation` counts them.

    `old_password` is what became of the one before when it was tried: refused, accepted by a
    server that asks these logins for none, or untried because the server had no place for it.
    """

    tenant: str
    rotation: int
    roles: list[str]
    old_password: Literal["refused", "accepted", "untried"]


class FireView(Wire, frozen=True, kw_only=True):
    """What became of one fire, known by its nominal time `fire_at`; `at` is when that was decided.

    `outcome` is started, held (until an earlier run has ended), skipped, missed or refused.
    """

    fire_at: datetime
    outcome: str
    reason: str = ""
    run: UUID | None = None
    at: datetime


class ScheduleView(Wire, frozen=True, kw_only=True):
    """One schedule: as it is declared, whether it is paused, its next fire and its newest one."""

    name: str
    workflow: str
    spec: dict[str, Any]
    paused: bool = False
    next_fire_at: datetime | None = None
    last_fire: FireView | None = None


class ScheduleList(Wire, frozen=True, kw_only=True):
    """All schedules of a tenant, by name."""

    schedules: list[ScheduleView]


class Alert(Wire, frozen=True, kw_only=True):
    """A tenant that came near to a limit, told once in each window, which began at `since`."""

    quota: str
    since: datetime
    at: datetime
    used: int
    allowed: int


class TenantSummary(Wire, frozen=True, kw_only=True):
    """One line of `insula tenant list`."""

    id: str
    name: str
    tier: str | None
    source: str
    enabled: bool
    state: str
    aliases: list[str] = []
    disabled_because: str | None = None
    """What an operator gave as the reason; null when only its declaration may disable it."""

    held_for: str | None = None
    """The verb that keeps it quiet for now, such as rename; null when it is not held."""

    pauses: list[TenantPause] | None = None
    """What is paused, also of one that sleeps; null when that is not known here and the database
    did not tell."""

    alerts: list[Alert] | None = None
    """Limits that were nearly used up in an hour or day that is not over; null when the database
    did not tell."""


class TenantView(TenantSummary, frozen=True, kw_only=True):
    """Everything about one tenant. `declaration` is its configuration with the tier merged in."""

    schema: str
    engine_role: str
    app_role: str
    shard: str = CONTROL_SHARD
    epoch: int | None = None
    engine_version: int = 0
    app_version: int = 0
    provisioned_at: datetime | None = None
    last_active_at: datetime | None = None
    config_hash: str | None = None
    """What it is to be served as, its tier included; null when that was never noted."""

    applied_config_hash: str | None = None
    """What it was served as last; null when it never was."""

    retry_at: datetime | None = None
    last_error: str | None = None
    declaration: dict[str, Any] = {}


class Transition(Wire, frozen=True, kw_only=True):
    """One change of a tenant's state on a node; `next_at` is when it leaves it by itself."""

    at: datetime
    node: str
    state: str
    reason: str = ""
    next_at: datetime | None = None


class TenantWhy(Wire, frozen=True, kw_only=True):
    """Why a tenant runs or does not, and when it will.

    `next_at` is when it is tried or woken by itself, `served_by` the living node that serves it.
    """

    tenant: str
    state: str
    because: str
    next_at: datetime | None = None
    served_by: str | None = None
    alerts: list[Alert] | None = None
    """As in the list of tenants."""

    transitions: list[Transition] = []


class TenantList(Wire, frozen=True, kw_only=True):
    """All tenants, by id."""

    tenants: list[TenantSummary]


class ReloadReport(Wire, frozen=True, kw_only=True):
    """What a reload did; `code`, `problems` and an unchanged generation when it was refused."""

    applied: bool
    generation: int
    code: str | None = None
    added: list[str] = []
    removed: list[str] = []
    changed: dict[str, list[str]] = {}
    notes: list[str] = []
    problems: list[str] = []


class DatabaseOutage(Wire, frozen=True, kw_only=True):
    """Since when the database has not answered this node, and what was heard last."""

    since: datetime
    error: str


class ShardStatus(Wire, frozen=True, kw_only=True):
    """A further database with tenants, and since when it has not answered this node."""

    name: str
    database: str
    isolation: str
    tenants: int
    outage: DatabaseOutage | None = None


class AuditEntry(Wire, frozen=True, kw_only=True):
    """Who did what to a tenant. Without an `outcome` it is under way, as far as anybody knows.

    `actor` is `uid 1000` over the control socket and `tcp 127.0.0.1` over the network; `subject` a
    run, a schedule or a workflow; `outcome` is `done` or the code of an error, `detail` its words.
    `interrupted` is what a node was at when it ended: it is finished, undone, or to be done again.
    """

    number: int
    at: datetime
    node: str
    actor: str
    operation: str
    subject: str = ""
    ended_at: datetime | None = None
    outcome: str | None = None
    detail: str = ""


class AuditPage(Wire, frozen=True, kw_only=True):
    """Answer of `GET /v1/tenants/{id}/audit`; `cursor` is there when there are older entries."""

    entries: list[AuditEntry]
    cursor: int | None = None


class LoopBlocked(Wire, frozen=True, kw_only=True):
    """What last held up the event loop, and with it everything on the node.

    `tenant`, `run` and `task` name the attempt, `where` the innermost line of its code; each is
    absent when it could not be seen.
    """

    ended_at: datetime
    milliseconds: int
    tenant: str | None = None
    run: UUID | None = None
    task: str | None = None
    where: str | None = None


class Status(Wire, frozen=True, kw_only=True):
    """Answer of `GET /v1/status`: the node at a glance.

    Told without the database, but for one query of what is paused of tenants that sleep.
    `busiest`, `quarantined` and `paused` name five tenants at most; `slots` counts all.
    """

    node: str
    incarnation: UUID
    version: str
    pid: int
    started_at: datetime
    generation: int
    config_digest: str
    draining: bool
    tenants: int
    slots: dict[str, int]
    running_tasks: int
    max_concurrent_tasks: int
    busiest: dict[str, int] = {}
    quarantined: list[str] = []
    paused: list[str] = []
    """Tenants that are paused, wholly or in a workflow; of those that sleep only when the database
    answers."""

    paused_tenants: int | None = None
    """How many that are; null when the database did not tell."""

    max_awake_tenants: int
    database: str
    database_version: str
    database_outage: DatabaseOutage | None = None
    shards: list[ShardStatus] = []
    loop_lag_ms: float
    loop_blocked: LoopBlocked | None = None
    last_reload: ReloadReport | None = None


class Problem(Wire, frozen=True, kw_only=True):
    """An error as `application/problem+json` (RFC 9457) with our stable `code`."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str = ""
    data: dict[str, Any] = {}
