"""Where a daemon answers, and what to make of it when none does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from orchestrator.client.call import Call
from orchestrator.model.errors import (
    DaemonUnreachable,
    DeadlineExceeded,
    InsulaError,
    InvalidRequest,
    NotAllowed,
)
from orchestrator.model.hosts import is_this_machine


@dataclass(frozen=True)
class Address:
    """One daemon: `base` for HTTP, and the socket's path when it is a unix socket."""

    url: str
    base: str
    socket: str | None

    @property
    def encrypted(self) -> bool:
        """True when the way there is TLS: only then are certificates read, which takes a while."""
        return self.base.startswith("https:")

    @property
    def confidential(self) -> bool:
        """True when nobody on the way there can read what is sent."""
        return self.encrypted or is_this_machine(urlsplit(self.base).hostname or "")

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `unix:///path`, `http://host:port` or `https://host`; InvalidRequest for others."""
        parts = urlsplit(url)
        if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
            # Not parts.path: a path may have ? and #, which mean nothing in a socket's name.
            return cls(url, "http://localhost", url.removeprefix("unix://"))
        if parts.scheme in {"http", "https"} and parts.netloc:
            return cls(url, url.rstrip("/"), None)
        raise InvalidRequest(
            f"{url!r} is no address of a daemon",
            hint="for example unix:///run/insula/insula.sock or http://127.0.0.1:8088",
        )

    def explain(self, call: Call[Any], error: httpx.HTTPError) -> InsulaError:
        """Return what a failed attempt means to the caller."""
        where = self.socket or self.url
        if is_shut_out(error):
            return NotAllowed(
                f"the socket {where} does not let you in",
                hint="be the daemon's user, or in the group that the socket belongs to",
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return DaemonUnreachable(
                f"no daemon answers at {where}",
                hint="is it running? `insula serve` starts it; under systemd, `systemctl status "
                "insula` tells why it is not",
            )
        if isinstance(error, httpx.TimeoutException) and call.within < math.inf:
            return DaemonUnreachable(
                f"somebody listens at {where}, but does not answer in time",
                hint="it is stopped, or something holds up its event loop: its log tells what",
            )
        outcome = "" if call.repeatable else "; whether the request was carried out is unknown"
        hint = "`insula status` tells whether the daemon answers at all, and who holds it up"
        if not call.repeatable:
            hint = "look what became of it first; a run with a key can be sent again safely"
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceeded(f"{where} did not answer in time{outcome}", hint=hint)
        return DaemonUnreachable(f"the connection to {where} was lost{outcome}", hint=hint)


def is_shut_out(error: BaseException) -> bool:
    """Return whether the control socket does not let this user in."""
    return any(isinstance(cause, PermissionError) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
