"""What the parts of both clients send their requests with."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, TypeVar

import httpx

from orchestrator.client.call import Call
from orchestrator.model.progress import Report

T = TypeVar("T")


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
