"""Where a daemon answers, and what to make of it when none does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import (
    RetryCallState,
    retry_base,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from orchestrator.client.call import Call, Upload, header_value
from orchestrator.client.content import encode, pieces_of
from orchestrator.model.errors import (
    DaemonUnreachable,
    DeadlineExceeded,
    InsulaError,
    InvalidRequest,
    NotAllowed,
)
from orchestrator.model.hosts import is_this_machine

TIMEOUT = 30.0
"""Seconds for an answer, beyond what a long poll waits."""

RETRIES = 3
"""How often a request is sent again that is safe to repeat."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to connect."""


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
        if any(isinstance(cause, PermissionError) for cause in _causes(error)):
            return NotAllowed(
                f"the socket {where} does not let you in",
                hint="be the daemon's user, or in the group that the socket belongs to",
            )
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return DaemonUnreachable(
                f"no daemon answers at {where}", hint="is the daemon running? insula serve"
            )
        if isinstance(error, httpx.TimeoutException) and call.within < math.inf:
            return DaemonUnreachable(
                f"somebody listens at {where}, but does not answer in time",
                hint="it is stopped, or something holds up its event loop: its log tells what",
            )
        outcome = "" if call.repeatable else "; whether the request was carried out is unknown"
        hint = ""
        if not call.repeatable:
            hint = "look what became of it first; a run with a key can be sent again safely"
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceeded(f"{where} did not answer in time{outcome}", hint=hint)
        return DaemonUnreachable(f"the connection to {where} was lost{outcome}", hint=hint)


@dataclass(frozen=True)
class Options:
    """What both clients are opened with."""

    address: Address
    timeout: float
    retries: int
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def read(
        cls, url: str, token: str | None, timeout: float, retries: int, *, plain_http: bool
    ) -> Options:
        """Return the options of a client, with its token as the header that carries it.

        InvalidRequest when the token would go over a network as it is, unless `plain_http`.
        """
        address = Address.parse(url)
        if token and not (plain_http or address.confidential):
            raise InvalidRequest(
                f"a token is not sent to {url}: everybody on the way could read and use it",
                hint="give the https:// URL of a proxy, or, in a network that nobody else reads, "
                "plain_http=True (--plain-http)",
            )
        headers = {"Authorization": f"Bearer {header_value('the token', token)}"} if token else {}
        return cls(address, timeout, retries, headers)


def request(
    call: Call[Any], *, timeout: float, pieces: Callable[[Upload], Any] = pieces_of
) -> dict[str, Any]:
    """Return the call as the arguments of httpx's `request`; `pieces` reads a file that is sent."""
    timeout = min(timeout, call.within)
    media = "application/json"
    if isinstance(call.body, Upload):
        content, media = pieces(call.body), call.body.media
    else:
        content = None if call.body is None else encode(call.body)
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query),
        "content": content,
        # Also without a body: the server takes a POST from nobody who does not say that it is JSON.
        "headers": {
            **call.headers,
            **({"Content-Type": media} if call.method == "POST" else {}),
        },
        "timeout": httpx.Timeout(timeout, read=timeout + call.wait),
    }


def policy(call: Call[Any], *, retries: int) -> dict[str, Any]:
    """Return when to send `call` again, as the arguments of tenacity's `Retrying`."""
    stop = stop_after_attempt(retries + 1)
    return {
        "stop": stop & stop_after_delay(call.patience) if call.patience else stop,
        "wait": wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)
        + wait_random(0, FIRST_PAUSE),
        "retry": _Resendable(call),
        "reraise": True,
    }


class _Resendable(retry_base):
    """A call that never left may be sent again; one that was lost on its way only if repeatable."""

    def __init__(self, call: Call[Any]) -> None:
        self._call = call

    def __call__(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return not any(isinstance(cause, PermissionError) for cause in _causes(error))
        lost = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        return lost and self._call.repeatable


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
