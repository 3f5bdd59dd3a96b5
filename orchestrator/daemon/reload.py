"""Applies a changed configuration to the running daemon: all of it, or none."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import anyio
import anyio.to_thread
import structlog

from orchestrator.daemon.code import LoadedCode
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.model.api import ReloadReport
from orchestrator.model.errors import ConfigError, InsulaError
from orchestrator.model.ids import TenantId
from orchestrator.settings.diff import Plan, diff
from orchestrator.settings.keys import RELOADS
from orchestrator.settings.load import Snapshot
from orchestrator.store.connect import DRIVER_ERRORS, classify

SWITCH_SECONDS = 0.0005
"""How long the reading of files keeps the interpreter; Python's own is ten times that."""

CODE_STAYS = "a reload does not import it again, so restart the daemon to run it"

log = structlog.get_logger(__name__)


class _Request:
    """All who asked for a reload before it began; one answer does for them."""

    report: ReloadReport | None = None


class Reloader:
    """Reads the files again and swaps one reference.

    However many ask while a reload is under way, they cause one more, and get its answer.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        read: Callable[[], Snapshot],
        apply: Callable[[Snapshot], Awaitable[Mapping[TenantId, list[str]]]],
        notifier: Notifier,
    ) -> None:
        self.snapshot = snapshot
        self.generation = 1
        self.last: ReloadReport | None = None
        self._booted = snapshot
        self._code = LoadedCode(snapshot.settings.workflows.modules)
        self._read = read
        self._apply = apply
        self._notifier = notifier
        self._lock = anyio.Lock()
        self._next = _Request()
        self._wanted = anyio.Event()

    def ask(self) -> None:
        """Reload soon; however often this is called before that, it is one reload."""
        self._wanted.set()

    async def run(self) -> None:
        """Reload whenever it was asked for, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            await self.reload()

    async def reload(self) -> ReloadReport:
        """Reload and return what changed; anything wrong leaves the old generation whole."""
        request = self._next
        async with self._lock:
            if request.report is None:
                # Who asks from here on may have written what is about to be read, or not.
                self._next = _Request()
                request.report = await self._reload_now()
        return request.report

    async def _reload_now(self) -> ReloadReport:
        self._notifier.reloading()
        try:
            report = await self._reload()
        except ConfigError as error:
            report = self._refused(error.code, error.problems)
        except (InsulaError, *DRIVER_ERRORS) as error:
            # A statement that was cancelled counts, too: nothing of a reload that did not get
            # through is in force.
            kind = type(error) if isinstance(error, InsulaError) else classify(error) or InsulaError
            report = self._refused(kind.code, [str(error) or type(error).__name__])
        self.last = report
        word = "reloaded" if report.applied else "reload REFUSED, still serving"
        self._notifier.ready(f"{word} generation {self.generation}{_counts(report)}")
        return report

    async def _reload(self) -> ReloadReport:
        with _others_first():
            read = anyio.to_thread.run_sync(lambda: (self._read(), self._code.changed()))
            new, stale = await read
        plan = diff(self.snapshot, new)
        if plan.violations:
            problems = [f"{path} {RELOADS['immutable']}" for path in plan.violations]
            return self._refused(ConfigError.code, problems)
        by_tier = await self._apply(new)
        self.snapshot = new
        self.generation += 1
        waiting = diff(self._booted, new).needs_daemon_restart
        notes = [
            *(f"{path} {RELOADS['live']}" for path in plan.live),
            *(f"{path} {RELOADS['daemon']}" for path in waiting),
            *(f"the code of {each} has changed; {CODE_STAYS}" for each in stale),
        ]
        report = _report(plan, by_tier, notes, self.generation)
        log.info(
            "config.reloaded",
            generation=self.generation,
            added=report.added,
            removed=report.removed,
            changed=report.changed,
            notes=report.notes,
        )
        return report

    def _refused(self, code: str, problems: list[str]) -> ReloadReport:
        log.error("config.reload_refused", generation=self.generation, code=code, problems=problems)
        return ReloadReport(applied=False, generation=self.generation, code=code, problems=problems)


@contextmanager
def _others_first() -> Iterator[None]:
    """Have a thread that computes give way sooner to the event loop.

    To parse the files of 10,000 tenants takes half a second, in which an answer needs its turn some
    twenty times.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _report(
    plan: Plan, by_tier: Mapping[TenantId, list[str]], notes: list[str], generation: int
) -> ReloadReport:
    every = [*plan.changed.items(), *by_tier.items()]
    return ReloadReport(
        applied=True,
        generation=generation,
        added=list(plan.added),
        removed=list(plan.removed),
        changed={str(tenant): [*fields] for tenant, fields in every},
        notes=notes,
    )


def _counts(report: ReloadReport) -> str:
    added, changed, removed = map(len, (report.added, report.changed, report.removed))
    return f": +{added} ~{changed} -{removed} tenants" if report.applied else ""
