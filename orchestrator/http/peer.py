"""Who is at the other end of a connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from litestar.connection import ASGIConnection
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): process, user, group."""


class PeerProtocol(HttpToolsProtocol):
    """Gives a client of a unix socket, which has no address, the name of its user.

    The kernel says whose process connected; nothing that the client sends can change it.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who connected."""
        super().connection_made(transport)
        peer: socket.socket | None = transport.get_extra_info("socket")
        if self.client is None and peer is not None and peer.family == socket.AF_UNIX:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            process, user, _ = _CREDENTIALS.unpack(credentials)
            self.client = (f"uid {user}", process)


def actor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return who asks, as the audit has it: `uid 1000`, or `tcp 127.0.0.1` over the network."""
    client = connection.client
    if client is None:
        return "unknown"
    return client.host if client.host.startswith("uid ") else f"tcp {client.host}"
