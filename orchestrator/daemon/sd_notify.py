"""Tells systemd how the service is doing (sd_notify(3)); does nothing elsewhere."""

from __future__ import annotations

import os
import socket
import time

import structlog

CLOSING_SECONDS = 30.0
"""What ends after the runs have: leases and connections are given back, the database stops."""

log = structlog.get_logger(__name__)


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET named when this was made."""

    def __init__(self) -> None:
        # Taken out of the environment, so that no child speaks in our name.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """Say that the service serves (again)."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Say that a reload begins; the time tells it from an older one."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self, status: str, *, within: float) -> None:
        """Say that the service drains, and ask for as many seconds as that may take."""
        microseconds = int((within + CLOSING_SECONDS) * 1_000_000)
        self._send("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={microseconds}")

    def watchdog(self) -> None:
        """Say that the event loop turns."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("sd_notify.failed", error=str(error))


def watchdog_interval() -> float | None:
    """Return how often, in seconds, the watchdog wants a sign of life: half of what it allows."""
    owner = os.environ.get("WATCHDOG_PID")
    allowed = os.environ.get("WATCHDOG_USEC", "")
    if not allowed.isdigit() or (owner is not None and owner != str(os.getpid())):
        return None
    return int(allowed) / 2_000_000 or None
