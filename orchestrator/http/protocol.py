"""The protocol that the server speaks: names who connects, and bounds what a connection holds."""

from __future__ import annotations

import asyncio
import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.http.peer import CUT_OFF, LOCAL, came_over_tcp

_CREDENTIALS = struct.Struct("3i")
"""struct ucred of unix(7): process, user, group."""

HEAD_BYTES = 64 * 1024
"""What a request may bring beside its body: the parser keeps all of it, before anybody is asked
who it is from. One read of the socket, at most 256 KiB, is not counted."""

HEAD_SECONDS = 20.0
"""How long a connection may take to bring a whole head."""

UNREAD_SECONDS = 300.0
"""How long an answer waits for a client that takes nothing of it. Until then it holds what it is
read from: of a backup the file, whose room on the disk others may need."""

UNSENT_SECONDS = 300.0
"""How long a body that has begun is waited for while nothing of it comes. Until then it holds what
it is kept in: of an upload the file, as above."""

CONNECTIONS = 512
"""So many over TCP at a time: each is an open file, and whoever works here needs some as well."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class PeerProtocol(HttpToolsProtocol):
    """Gives a client of a unix socket, which has no address, the name of its user.

    The kernel says whose process connected; nothing that the client sends can change it. Who holds
    a connection without asking for anything is cut off: with a head, or fields behind a body in
    chunks, that have no end, or do not come, and who has more connections than there are places.
    So is who asks and does not read the answer, or sends nothing more of a body.
    """

    _outside = 0
    """Bytes that came since the last piece of a body, or the last whole request."""
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _unsent: asyncio.TimerHandle | None = None
    _awaits_body = False
    _heard = 0
    """So many times something has come."""

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def on_headers_complete(self) -> None:
        """Note that it ends, and let whoever answers cut the connection off."""
        self._lift_deadline()
        self._awaits_body = True
        self.scope["state"][CUT_OFF] = self.transport.abort
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._outside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        self._outside = 0
        self._awaits_body = False
        self._lift_unsent()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take what has come, unless there is too much of what is no body."""
        begun = self._outside > 0
        self._outside += len(data)
        self._heard += 1
        super().data_received(data)
        if self._awaits_body and self._unsent is None:
            self._await_sender()
        if begun and self._outside > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note who connected."""
        super().connection_made(transport)
        peer: socket.socket | None = transport.get_extra_info("socket")
        if self.client is None and peer is not None and peer.family == socket.AF_UNIX:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            process, user, _ = _CREDENTIALS.unpack(credentials)
            self.client = (f"{LOCAL}{user}", process)
        elif self._over_tcp() > CONNECTIONS:
            transport.abort()
            return
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.abort)

    def pause_writing(self) -> None:
        """Note that what was sent is not read as fast as it comes."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Note that it was read."""
        self._lift_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it is over."""
        self._lift_deadline()
        self._lift_unread()
        self._awaits_body = False
        self._lift_unsent()
        super().connection_lost(exc)

    def _over_tcp(self) -> int:
        """Return how many connections there are over TCP, with this one."""
        ours = [each for each in self.connections if isinstance(each, PeerProtocol)]
        return sum(came_over_tcp(each.client) for each in ours)

    def _await_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._look_after_reader, left)

    def _look_after_reader(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._await_reader()
        else:
            self.transport.abort()

    def _await_sender(self) -> None:
        self._unsent = self.loop.call_later(UNSENT_SECONDS, self._look_after_sender, self._heard)

    def _look_after_sender(self, before: int) -> None:
        # While we take nothing ourselves, because what has come is still being written, who sends
        # is not to blame.
        if self._heard > before or self.flow.read_paused:
            self._await_sender()
        else:
            self.transport.abort()

    def _lift_unsent(self) -> None:
        if self._unsent is not None:
            self._unsent.cancel()
            self._unsent = None

    def _lift_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _lift_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
