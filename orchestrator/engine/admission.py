"""Keeps what the engine counts of new runs in step with the database: others add runs, too."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from orchestrator.model.errors import QuotaExceeded
from orchestrator.quota.limits import Usage, of_counts
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.admission import Admitted, Allowance


class Admission:
    """What the group commit counts new runs by; what has come of it goes into `usage`."""

    def __init__(
        self, config: Callable[[], TenantConfig], usage: Usage, now: Callable[[], datetime]
    ) -> None:
        self._config = config
        self._usage = usage
        self._now = now

    @property
    def allowance(self) -> Allowance | None:
        """What new runs are counted by in the transaction that adds them; None for no limit."""
        config = self._config()
        limits = of_counts(config.limits)
        return None if limits is None else Allowance(config.id, limits)

    def counted(self, admitted: Admitted) -> None:
        """Take over what the database has counted."""
        if admitted.full_at is not None:
            self._usage.bucket.fill_at(admitted.full_at)
        if admitted.over is not None:
            self._usage.refused(admitted.over, self._now())

    def held_up(self, error: QuotaExceeded) -> None:
        """Ask no more of the database for a while: each time, the commit would wait."""
        self._usage.hold(error, self._now())
