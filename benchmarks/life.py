"""What the life of many tenants costs: verb after verb, in time, disk and memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from benchmarks import processes
from benchmarks.protocol import percentiles
from benchmarks.served import Served
from orchestrator import Client

TENTH = 10
SPEAKS_SECONDS = 10.0
"""How often it is told how far a verb is."""

SIZES = """
    SELECT pg_database_size(current_database()),
           (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
            WHERE relkind = 'r'
              AND relnamespace IN ('pg_catalog'::regnamespace, 'insula'::regnamespace))
"""
LEFT = r"""
    SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant\_%'),
           (SELECT count(*) FROM pg_roles WHERE rolname ~ '^insula_[ea]_'),
           (SELECT count(*) FROM pg_db_role_setting WHERE setrole <> 0),
           (SELECT count(*) FROM insula.tenant WHERE state <> 'removed')
"""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One verb done to each tenant, one after the other, and what is used when it has been.

    `cpu_ms` is the processor time for one tenant, of the daemon and the server with all their
    processes. `of` is to how many it was to be done. `catalogs_mb` are the server's own tables and
    the registry's, which every tenant grows.
    """

    verb: str
    tenants: int
    of: int
    seconds: float
    p50_ms: float
    p99_ms: float
    first_tenth_ms: float
    last_tenth_ms: float
    cpu_ms: float
    database_mb: float
    catalogs_mb: float
    daemon_mb: float
    daemon_peak_mb: float
    server_mb: float


class LifeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that somebody needs who wants to believe it or to do it again."""

    date: str
    commit: str
    machine: dict[str, Any]
    postgresql: dict[str, Any]
    versions: dict[str, str]
    tenants: int
    phases: list[Phase] = []
    archives_mb: float | None = None
    start_with_all_seconds: float | None = None
    migrate_together_seconds: float | None = None
    left: dict[str, int] | None = None
    """What the server has of tenants when all have been deleted."""

    listed: dict[str, float] | None = None
    seconds: float = 0.0
    whole: bool = False
    """False: it was broken off, or its time did not suffice, and this is what it has."""


class Shares:
    """Divides the time of a run among what is still to be done, by how long that usually takes."""

    def __init__(self, seconds: float, weights: Mapping[str, float]) -> None:
        self._ends = time.monotonic() + seconds
        self._weights = dict(weights)

    def until(self, name: str) -> float:
        """Return the moment at which `name` has had its share; what comes next gets the rest.

        What was quicker leaves its time to the others.
        """
        now = time.monotonic()
        share = self._weights[name] / sum(self._weights.values())
        del self._weights[name]
        return now + max(0.0, self._ends - now) * share


def tenths(taken: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return the first tenth and the last, two of them at least.

    >>> tenths(range(30))
    (range(0, 3), range(27, 30))
    """
    size = max(2, len(taken) // TENTH)
    return taken[:size], taken[-size:]


class Life:
    """Does one verb after the other, and keeps what each has cost."""

    def __init__(self, daemon: Served, shares: Shares) -> None:
        self.phases: list[Phase] = []
        self._daemon = daemon
        self._shares = shares

    async def each(
        self, verb: str, names: Sequence[str], do: Callable[[Client, str], Awaitable[object]]
    ) -> list[str]:
        """Do something to each, one after the other; return those that there was time for."""
        taken: list[float] = []
        until = self._shares.until(verb)
        began, used = time.perf_counter(), self._cpu_seconds()
        speaks = began + SPEAKS_SECONDS
        async with self._daemon.client() as client:
            for name in names:
                if len(taken) > 1 and time.monotonic() > until:
                    break
                before = time.perf_counter()
                await do(client, name)
                now = time.perf_counter()
                taken.append(now - before)
                if now > speaks:
                    speaks = now + SPEAKS_SECONDS
                    say(f"{verb}: {len(taken)} of {len(names)}")
        seconds, cpu = time.perf_counter() - began, self._cpu_seconds() - used
        await self._note(verb, len(names), taken, seconds=seconds, cpu=cpu)
        return list(names[: len(taken)])

    async def _note(
        self, verb: str, of: int, taken: list[float], *, seconds: float, cpu: float
    ) -> None:
        if not taken:
            say(f"{verb}: there was none to do it to")
            return
        (first, last), cuts = tenths(taken), percentiles(taken if taken[1:] else taken * 2)
        database, catalogs = await self._ask(SIZES)
        phase = Phase(
            verb=verb,
            tenants=len(taken),
            of=of,
            seconds=round(seconds, 1),
            p50_ms=cuts["p50_ms"],
            p99_ms=cuts["p99_ms"],
            first_tenth_ms=1000 * statistics.median(first),
            last_tenth_ms=1000 * statistics.median(last),
            cpu_ms=1000 * cpu / len(taken),
            database_mb=round(database / 2**20, 1),
            catalogs_mb=round(int(catalogs) / 2**20, 1),
            daemon_mb=self._daemon.memory_mb(),
            daemon_peak_mb=self._daemon.peak_memory_mb(),
            server_mb=round(processes.tree_memory_bytes(self._daemon.server_pid) / 2**20, 1),
        )
        self.phases.append(phase)
        say(
            f"{verb}: {phase.tenants} of {phase.of} in {phase.seconds:g} s, "
            f"p50 {phase.p50_ms:.1f} ms, p99 {phase.p99_ms:.0f} ms"
        )

    async def left(self) -> dict[str, int]:
        """Return what the server still has of any tenant."""
        names = ("schemas", "roles", "settings of roles", "rows of the registry")
        return dict(zip(names, await self._ask(LEFT), strict=True))

    def _cpu_seconds(self) -> float:
        daemon = self._daemon
        return daemon.cpu_seconds() + processes.tree_cpu_seconds(daemon.server_pid)

    async def _ask(self, query: str) -> tuple[int, ...]:
        connection = await self._daemon.database()
        try:
            return tuple(await connection.fetchrow(query) or ())
        finally:
            await connection.close()


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)
