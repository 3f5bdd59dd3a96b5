"""The line that `systemctl status` shows while the daemon serves."""

from __future__ import annotations

from orchestrator.daemon.sd_notify import Notifier
from supervisors.root import RootSupervisor


async def keep_status(root: RootSupervisor, notifier: Notifier) -> None:
    """Say, for ever, how many tenants are in quarantine, whenever that changes."""
    while True:
        await root.sick.changed.wait()
        notifier.status(status_of(len(root.slots), len(root.sick.tenants)))


def status_of(tenants: int, quarantined: int) -> str:
    """Return the line.

    >>> status_of(16, 1)
    'serving 16 tenants, 1 in quarantine'
    """
    return f"serving {tenants} tenants" + (f", {quarantined} in quarantine" if quarantined else "")
