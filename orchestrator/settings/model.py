"""The configuration file as types: each key with its default, its bounds, what a reload does."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from orchestrator.settings.alerts import AlertsSection
from orchestrator.settings.archive import ArchiveSection
from orchestrator.settings.cache import CacheSection
from orchestrator.settings.database import DatabaseSection, ShardSection
from orchestrator.settings.duration import Duration
from orchestrator.settings.http import HttpSection
from orchestrator.settings.keys import Count, Module, Name, Size, Text, about, shaped
from orchestrator.settings.schedule import MOST_FIRES, CatchUp, Overlap
from orchestrator.settings.section import Section


class NodeSection(Section, frozen=True, kw_only=True):
    """This daemon process."""

    name: Annotated[
        Annotated[
            str,
            shaped(
                "^[a-z0-9][a-z0-9_-]{0,31}",
                "has up to 32 lower-case letters, digits, '_' and '-', a letter or digit first",
            ),
        ],
        about("name of this node, different on each node of an installation", "daemon"),
    ] = "a"
    max_awake_tenants: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)],
        about(
            "tenants awake at a time, each with a connection, and more while its tasks use any;"
            " the longest idle one makes room",
            "daemon",
        ),
    ] = 100
    max_concurrent_tasks: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)],
        about("tasks running at a time, over all tenants", "daemon"),
    ] = 64
    max_worker_processes: Annotated[
        Annotated[int, Meta(ge=1, le=256)],
        about("worker processes for tasks with executor='process', over all tenants", "daemon"),
    ] = 4
    worker_memory: Annotated[
        Size | None,
        about(
            "memory one worker process may have; a task that wants more fails",
            "daemon",
            absent="no limit",
            example="1GiB",
        ),
    ] = None
    state_dir: Annotated[
        Text | None,
        about(
            "what must survive a restart: the installation key, the embedded PostgreSQL",
            "daemon",
            absent="$STATE_DIRECTORY, else /var/lib/insula for root, else $XDG_STATE_HOME/insula",
            example="/var/lib/insula",
        ),
    ] = None
    runtime_dir: Annotated[
        Text | None,
        about(
            "where the control socket is",
            "daemon",
            absent="$RUNTIME_DIRECTORY, else /run/insula for root, else $XDG_RUNTIME_DIR/insula",
            example="/run/insula",
        ),
    ] = None


class SupervisionSection(Section, frozen=True, kw_only=True):
    """How tenants fall asleep, restart and are taken over."""

    idle_ttl: Annotated[
        Duration,
        about(
            "a tenant with nothing to do for so long falls asleep", "live", least="0s", most="7d"
        ),
    ] = Duration(seconds=60)
    restart_intensity: Annotated[
        Annotated[int, Meta(ge=1, le=1000)],
        about("so many crashes within restart_period quarantine a tenant", "daemon"),
    ] = 5
    restart_period: Annotated[
        Duration, about("see restart_intensity", "daemon", least="1s", most="1d")
    ] = Duration(seconds=60)
    mailbox: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)],
        about("messages that may wait for a tenant's supervisor; more are refused", "daemon"),
    ] = 256
    min_residency: Annotated[
        Duration,
        about(
            "a tenant that woke is not sent to sleep earlier to make room",
            "daemon",
            least="0s",
            most="1h",
        ),
    ] = Duration(seconds=5)
    drain_timeout: Annotated[
        Duration,
        about("how long running tasks may go on after SIGTERM", "daemon", least="0s", most="1d"),
    ] = Duration(seconds=30)
    node_expiry: Annotated[
        Duration,
        about(
            "a node silent for so long is dead, and other nodes take its tenants",
            "daemon",
            least="1s",
            most="1h",
        ),
    ] = Duration(seconds=12)
    node_renewal: Annotated[
        Duration,
        about(
            "how often a node says that it is alive; at most half of node_expiry",
            "daemon",
            least="100ms",
            most="10m",
        ),
    ] = Duration(seconds=3)


class WorkflowsSection(Section, frozen=True, kw_only=True):
    """The workflows this daemon serves."""

    modules: Annotated[
        list[Module],
        about(
            "Python modules that define workflows",
            "daemon",
            example=["examples.flights.workflows"],
        ),
    ] = []


class MigrationsSection(Section, frozen=True, kw_only=True):
    """The application's own tables in each tenant's schema."""

    path: Annotated[
        Text | None,
        about(
            "directory of NNNN_name.sql files, applied in order to every tenant;"
            " relative to this file",
            "daemon",
            absent="no tables but the engine's",
            example="migrations",
        ),
    ] = None


class LogSection(Section, frozen=True, kw_only=True):
    """The log, on stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        about("the least important event that is written", "live"),
    ] = "info"
    format: Annotated[
        Literal["auto", "json", "console"],
        about("auto: for people on a terminal, else JSON", "daemon"),
    ] = "auto"


class Limits(Section, frozen=True, kw_only=True):
    """Quotas of a tenant; a limit that is not set does not limit."""

    max_runs_per_hour: Annotated[
        Count | None, about("runs accepted within an hour; more are refused", "live", example=1000)
    ] = None
    max_runs_per_day: Annotated[
        Count | None, about("runs accepted within a day; more are refused", "live", example=10_000)
    ] = None
    max_concurrent_runs: Annotated[
        Count | None, about("runs under way at a time; more wait", "live", example=10)
    ] = None
    max_concurrent_tasks: Annotated[
        Count | None, about("tasks running at a time; more wait", "live", example=4)
    ] = None
    max_queue_length: Annotated[
        Count | None, about("runs that may wait; more are refused", "live", example=500)
    ] = None
    max_payload_bytes: Annotated[
        Size | None,
        about("size of a run's input; a larger one is refused", "live", example="1MiB"),
    ] = None
    max_result_bytes: Annotated[
        Size | None,
        about("size of a run's result; a larger one is not stored", "live", example="1MiB"),
    ] = None
    allowed_queues: Annotated[
        list[Name] | None,
        about("queues the tenant may use; others are refused", "live", example=["default"]),
    ] = None
    max_retries: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        about("retries of a task, whatever its policy says", "live", example=5),
    ] = None
    rate: Annotated[
        Count | None, about("runs accepted a minute, evenly; see `rate_over`", "live", example=60)
    ] = None
    rate_burst: Annotated[
        Count | None,
        about(
            "runs that `rate` lets through at once after a rest", "live", absent="rate", example=10
        ),
    ] = None
    rate_over: Annotated[
        Literal["refuse", "delay"] | None,
        about(
            "what becomes of runs over `rate`: refused, or begun when it allows",
            "live",
            absent="refuse",
            example="delay",
        ),
    ] = None
    max_items_per_run: Annotated[
        Count | None,
        about("items that `ctx.map` goes over; see `items_over`", "live", example=10_000),
    ] = None
    items_over: Annotated[
        Literal["refuse", "truncate"] | None,
        about(
            "more items: the attempt fails, or the first are taken and the context says so",
            "live",
            absent="refuse",
            example="truncate",
        ),
    ] = None
    max_cache_entries: Annotated[
        Count | None,
        about("values in its cache; the oldest go first", "live", absent="10000", example=1000),
    ] = None
    max_cache_bytes: Annotated[
        Size | None, about("their size, with keys", "live", absent="64MiB", example="8MiB")
    ] = None
    retention_days: Annotated[
        Count | None,
        about(
            "finished runs are deleted, with their events, so long after their end",
            "live",
            absent="for ever",
            example=90,
        ),
    ] = None


class ScheduleSection(Section, frozen=True, kw_only=True):
    """Starts runs of a workflow by itself: at the times of exactly one of `cron`, `every`, `at`."""

    name: Annotated[
        Annotated[
            str,
            shaped(
                r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}",
                "has up to 100 letters, digits, '_', '.' and '-', a letter or digit first",
            ),
        ],
        about("what it is called; different for each schedule of a tenant", "live"),
    ] = ""
    workflow: Annotated[Name, about("name of the workflow", "live")] = ""
    cron: Annotated[
        Text | None,
        about(
            "minute, hour, day of month, month, day of week",
            "live",
            absent="-",
            example="0 3 * * *",
        ),
    ] = None
    timezone: Annotated[
        Text | None,
        about("IANA time zone of `cron`", "live", absent="UTC", example="Europe/Berlin"),
    ] = None
    every: Annotated[
        Duration | None, about("an interval, counted from `anchor`", "live", absent="-")
    ] = None
    anchor: Annotated[
        datetime | None, about("see `every`", "live", absent="1970-01-01T00:00:00Z")
    ] = None
    at: Annotated[datetime | None, about("one moment", "live", absent="-")] = None
    jitter: Annotated[
        Duration, about("a run starts up to so much later than its fire time", "live")
    ] = Duration()
    overlap: Annotated[
        Overlap, about("what becomes of a fire while an earlier run has not ended", "live")
    ] = "skip"
    catch_up: Annotated[
        CatchUp, about("what becomes of fires that nobody was there for", "live")
    ] = "one"
    catch_up_limit: Annotated[int, about('so many at most for `catch_up = "all"`', "live")] = (
        MOST_FIRES
    )
    grace: Annotated[Duration, about("a fire later than this was missed", "live")] = Duration(
        minutes=1
    )
    input: Annotated[dict[str, Any], about("input of the runs", "live", example={"month": 1})] = {}
    queue: Annotated[Name | None, about("queue of the runs", "live", absent="the workflow's")] = (
        None
    )
    priority: Annotated[
        Annotated[int, Meta(ge=0, le=9)], about("priority of the runs; 9 goes first", "live")
    ] = 0


class Tier(Section, frozen=True, kw_only=True):
    """Named defaults for tenants."""

    settings: Annotated[
        dict[str, Any],
        about("free JSON for the workflows: ctx.tenant.settings", "live", example={"region": "eu"}),
    ] = {}
    features: Annotated[
        dict[str, bool],
        about("switches for the workflows: ctx.tenant.features", "live", example={"beta": True}),
    ] = {}
    metadata: Annotated[
        dict[str, Any],
        about("the application's own notes: ctx.tenant.metadata", "live", example={"plan": "pro"}),
    ] = {}
    limits: Annotated[Limits, about("quotas, see below", "live")] = field(default_factory=Limits)
    workflows: Annotated[
        list[Name] | None,
        about(
            "names of the workflows a tenant may run",
            "live",
            absent="all that are served",
            example=["monthly_report"],
        ),
    ] = None
    schedules: Annotated[
        list[ScheduleSection],
        about("what starts runs by itself, see below; a tenant's goes before its tier's", "live"),
    ] = []
    idle_ttl: Annotated[
        Duration | None,
        about(
            "a tenant with nothing to do for so long falls asleep",
            "live",
            absent="supervision.idle_ttl",
            least="0s",
            most="7d",
            example="10m",
        ),
    ] = None
    encrypt_payloads: Annotated[
        bool | None,
        about("its runs are sealed from its next waking on", "live", absent="false", example=True),
    ] = None
    weight: Annotated[
        Annotated[int, Meta(ge=1, le=100)] | None,
        about(
            "share of the task slots when tenants compete for them",
            "live",
            absent="1",
            example=2,
        ),
    ] = None
    shard: Annotated[
        Text | None,
        about(
            "where its tables are made at first use: a name of `[shards.*]`, or `control`;"
            " whoever has tables stays where they are",
            "live",
            absent="control",
            example="eu",
        ),
    ] = None


class Tenant(Tier, frozen=True, kw_only=True):
    """One tenant. What it says goes before its tier; maps are merged key by key."""

    name: Annotated[
        Text | None,
        about("name for people", "live", absent="the id", example="ACME Corporation"),
    ] = None
    enabled: Annotated[bool, about("false: the tenant takes no work", "lifecycle")] = True
    tier: Annotated[
        Text | None,
        about("the tier whose defaults it inherits", "live", absent="none", example="basic"),
    ] = None
    aliases: Annotated[
        list[str],
        about("other names for it, without regard to case", "live", example=["acme-corp"]),
    ] = []


class Settings(Section, frozen=True, kw_only=True):
    """The whole file. A relative path in it starts from the directory of the file."""

    node: NodeSection = field(default_factory=NodeSection)
    database: DatabaseSection = field(default_factory=DatabaseSection)
    shards: dict[str, ShardSection] = {}
    http: HttpSection = field(default_factory=HttpSection)
    supervision: SupervisionSection = field(default_factory=SupervisionSection)
    workflows: WorkflowsSection = field(default_factory=WorkflowsSection)
    migrations: MigrationsSection = field(default_factory=MigrationsSection)
    alerts: AlertsSection = field(default_factory=AlertsSection)
    archive: ArchiveSection = field(default_factory=ArchiveSection)
    cache: CacheSection = field(default_factory=CacheSection)
    log: LogSection = field(default_factory=LogSection)
    tiers: dict[str, Tier] = {}
    tenants: dict[str, Tenant] = {}
    include: Annotated[
        list[Text],
        about(
            "patterns of further files with [tenants.*] and [tiers.*], relative to this file;"
            " file names that begin with a dot are passed over",
            "live",
            example=["tenants.d/*.toml"],
        ),
    ] = []
