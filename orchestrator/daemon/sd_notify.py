"""Tells systemd how the service is doing (sd_notify(3)); does nothing elsewhere."""

from __future__ import annotations

import os
import socket
import time

import structlog

from orchestrator.model.text import one_line

CLOSING_SECONDS = 75.0
"""What ends after the runs have, at worst: leases and connections are given back, and the embedded
database is stopped, by force if need be."""

log = structlog.get_logger(__name__)


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET named when this was made."""

    def __init__(self) -> None:
        # Taken out of the environment, so that no child speaks in our name.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @property
    def listened(self) -> bool:
        """True when somebody wants to know, and takes a start that lasts for no failure."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Say that the service serves (again)."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Say how the service is doing."""
        self._send(_status(status))

    def reloading(self) -> None:
        """Say that a reload begins; the time tells it from an older one."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self, status: str, *, within: float) -> None:
        """Say that the service drains, and ask for as many seconds as that may take."""
        self._send("STOPPING=1", _status(status), _extension(within + CLOSING_SECONDS))

    def extend(self, status: str, *, within: float = CLOSING_SECONDS) -> None:
        """Say what a start or an end is at, and ask for so many seconds until the next word.

        One that is shorter than what was asked for before changes nothing.
        """
        self._send(_status(status), _extension(within))

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


def _status(text: str) -> str:
    return f"STATUS={one_line(text)}"


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"


def watchdog_interval() -> float | None:
    """Return how often, in seconds, the watchdog wants a sign of life: half of what it allows."""
    owner = os.environ.get("WATCHDOG_PID")
    allowed = os.environ.get("WATCHDOG_USEC", "")
    if not allowed.isdigit() or (owner is not None and owner != str(os.getpid())):
        return None
    return int(allowed) / 2_000_000 or None
