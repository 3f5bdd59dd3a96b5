"""What runs are counted by in the commit that adds them, and what that tells the engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from orchestrator.model.errors import QuotaExceeded
from orchestrator.quota.limits import Usage, of_counts
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.admission import Admitted, Allowance


class Counting:
    """Keeps `usage`, the engine's own count, from promising what others have used up."""

    def __init__(
        self, config: Callable[[], TenantConfig], usage: Usage, now: Callable[[], datetime]
    ) -> None:
        self._config = config
        self._usage = usage
        self._now = now

    @property
    def allowance(self) -> Allowance | None:
        """What new runs are counted by; None when nothing limits how many there are."""
        config = self._config()
        limits = of_counts(config.limits)
        return None if limits is None else Allowance(config.id, limits)

    def counted(self, admitted: Admitted) -> None:
        """Take over what the database has counted: others add runs, too."""
        if admitted.full_at is not None:
            self._usage.bucket.fill_at(admitted.full_at)
        if admitted.over is not None:
            self._usage.refused(admitted.over, self._now())

    def held_up(self, error: QuotaExceeded) -> None:
        """Ask no more of the database for a while: each time, the commit would wait."""
        self._usage.hold(error, self._now())
