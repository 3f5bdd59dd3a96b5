"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from litestar.connection import ASGIConnection
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.model.tokens import Holder

_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): process, user, group."""


_LOCAL = "uid "
"""Begins the address of who came over the control socket; no address of a network does."""

HEAD_BYTES = 64 * 1024
"""What a request may bring before its body: the parser keeps all of it, before anybody is asked
who it is from. One read of the socket, at most 256 KiB, is not counted."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class PeerProtocol(HttpToolsProtocol):
    """Gives a client of a unix socket, which has no address, the name of its user.

    The kernel says whose process connected; nothing that the client sends can change it. A head
    without end is cut off.
    """

    _in_head = False
    _head = 0

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Note that it ends."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless the head that it belongs to is too long by now."""
        self._head = self._head + len(data) if self._in_head else 0
        if self._head <= HEAD_BYTES:
            super().data_received(data)
        elif not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who connected."""
        super().connection_made(transport)
        peer: socket.socket | None = transport.get_extra_info("socket")
        if self.client is None and peer is not None and peer.family == socket.AF_UNIX:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            process, user, _ = _CREDENTIALS.unpack(credentials)
            self.client = (f"{_LOCAL}{user}", process)


def over_tcp(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Tell whether a request came over the network, if only this machine's.

    Whatever is not known to have come over the control socket did: `PeerProtocol` names its users.
    """
    client = connection.client
    return client is None or not client.host.startswith(_LOCAL)


def holder_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Holder | None:
    """Return whose token the request had; None when it needed none."""
    found: Holder | None = connection.scope["state"].get("holder")
    return found


def actor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return who asks, as the audit has it: `uid 1000`, or `token 0f3a… tcp 127.0.0.1`."""
    client = connection.client
    if client is None:
        return "unknown"
    if not over_tcp(connection):
        return client.host
    holder = holder_of(connection)
    return (f"token {holder.token} " if holder else "") + f"tcp {client.host}"
