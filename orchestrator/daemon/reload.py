"""Applies a changed configuration to the running daemon: all of it, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio
import anyio.to_thread
import structlog

from orchestrator.daemon.sd_notify import Notifier
from orchestrator.model.api import ReloadReport
from orchestrator.model.errors import ConfigError, InsulaError
from orchestrator.settings.diff import Plan, diff
from orchestrator.settings.load import Snapshot
from orchestrator.store.connect import DRIVER_ERRORS

log = structlog.get_logger(__name__)


class Reloader:
    """Reads the files again and swaps one reference.

    Requests that come during a reload cause one more.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        read: Callable[[], Snapshot],
        apply: Callable[[Snapshot], Awaitable[None]],
        notifier: Notifier,
    ) -> None:
        self.snapshot = snapshot
        self.generation = 1
        self.last: ReloadReport | None = None
        self._booted = snapshot
        self._read = read
        self._apply = apply
        self._notifier = notifier
        self._lock = anyio.Lock()
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
        """Reload now and return what changed; anything wrong leaves the old generation whole."""
        async with self._lock:
            self._notifier.reloading()
            try:
                report = await self._reload()
            except ConfigError as error:
                report = self._refused(error.problems)
            except (InsulaError, *DRIVER_ERRORS) as error:
                # A file that can not be read and a statement that was cancelled count, too:
                # nothing of a reload that did not get through is in force.
                report = self._refused([str(error) or type(error).__name__])
            self.last = report
            word = "reloaded" if report.applied else "reload REFUSED, still serving"
            self._notifier.ready(f"{word} generation {self.generation}")
            return report

    async def _reload(self) -> ReloadReport:
        new = await anyio.to_thread.run_sync(self._read)
        plan = diff(self.snapshot, new)
        if plan.violations:
            return self._refused(
                [f"{path} can not change while there are tenants" for path in plan.violations]
            )
        await self._apply(new)
        self.snapshot = new
        self.generation += 1
        waiting = diff(self._booted, new).needs_daemon_restart
        report = _report(plan, waiting, self.generation)
        log.info(
            "config.reloaded",
            generation=self.generation,
            added=report.added,
            removed=report.removed,
            changed=report.changed,
            notes=report.notes,
        )
        return report

    def _refused(self, problems: list[str]) -> ReloadReport:
        log.error("config.reload_refused", generation=self.generation, problems=problems)
        return ReloadReport(applied=False, generation=self.generation, problems=problems)


def _report(plan: Plan, waiting: Iterable[str], generation: int) -> ReloadReport:
    """Describe a reload; `waiting` is what differs from what the daemon was started with."""
    notes = [f"{path} takes effect at the next start of the daemon" for path in waiting]
    return ReloadReport(
        applied=True,
        generation=generation,
        added=list(plan.added),
        removed=list(plan.removed),
        changed={tenant: list(fields) for tenant, fields in plan.changed.items()},
        notes=notes,
    )
