"""How requests are sent: with which options, when again, and by what the parts of a client."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx
from tenacity import (
    RetryCallState,
    retry_base,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from orchestrator.client.address import Address, is_shut_out
from orchestrator.client.call import Call, Upload, header_value
from orchestrator.client.content import encode, pieces_of
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.progress import Report

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds for an answer, beyond what a long poll waits."""

RETRIES = 3
"""How often a request is sent again that is safe to repeat."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to connect."""


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


class Send(Protocol):
    """`Client.send`."""

    async def __call__(self, call: Call[T], report: Report | None = None, /) -> T: ...


class SendNow(Protocol):
    """`SyncClient.send`."""

    def __call__(self, call: Call[T], report: Report | None = None, /) -> T: ...


class Open(Protocol):
    """`Client.open`."""

    def __call__(self, call: Call[Any], /) -> AbstractAsyncContextManager[httpx.Response]: ...


class OpenNow(Protocol):
    """`SyncClient.open`."""

    def __call__(self, call: Call[Any], /) -> AbstractContextManager[httpx.Response]: ...


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
            return not is_shut_out(error)
        lost = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        return lost and self._call.repeatable
