"""Whoever reaches the TCP port can hold little of the daemon, with or without a token."""

from __future__ import annotations

import io
import socket
from contextlib import ExitStack
from typing import BinaryIO

import anyio
import httpx
import pytest

from orchestrator.http import protocol
from tests.http.serving import Served
from tests.support.wait import until

BACKUP = (
    b"POST /v1/tenants/large/backup HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 0\r\n"
)
CHUNKED = b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def dial(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=30)


def is_cut_off(stranger: socket.socket) -> bool:
    """Wait for the daemon to end a connection, whatever it says before that."""
    try:
        while stranger.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return True


@pytest.mark.parametrize("end", [b"0\r\nX-A: ", b"1\r\na\r\n0\r\nX-A: "], ids=["none", "short"])
def test_fields_without_end_behind_a_body_are_cut_off(served: Served, end: bytes) -> None:
    with dial(served) as endless:
        endless.sendall(CHUNKED + end)
        with pytest.raises(ConnectionError):
            endless.sendall(b"a" * 2**26)


def test_a_body_of_many_pieces_is_no_head(served: Served) -> None:
    body = b"".join(b"1\r\n \r\n" for _ in range(30_000)) + b"0\r\n\r\n"
    with dial(served) as patient:
        patient.sendall(CHUNKED + body + b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
        patient.sendall(b"Connection: close\r\n\r\n")
        told = b"".join(iter(lambda: patient.recv(65536), b""))

    assert told.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 200 " in told


@pytest.mark.parametrize(
    "sent", [b"", b"GET /health/live HTTP/1.1\r\nHost: "], ids=["none", "half"]
)
def test_a_head_that_does_not_come_is_not_waited_for(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)

    with dial(served) as silent:
        silent.sendall(sent)
        assert is_cut_off(silent)


def test_who_reads_nothing_of_a_download_loses_it_and_the_file_goes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.05)
    served.platform.add("large")

    with dial(served) as idle:
        token = served.operator["Authorization"].encode()
        idle.sendall(BACKUP + b"Authorization: " + token + b"\r\n\r\n")
        anyio.run(until, lambda: served.platform.archives.sent)
        anyio.run(until, lambda: served.platform.archives.sent[0].closed)
        assert is_cut_off(idle)


@pytest.mark.parametrize("path", ["acme_corp/import", "umbrella/restore"])
def test_who_sends_nothing_more_of_an_upload_is_cut_off_and_the_file_goes(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(protocol, "UNSENT_SECONDS", 0.05)
    spools = []

    async def spool() -> BinaryIO:
        spools.append(io.BytesIO())
        return spools[-1]

    monkeypatch.setattr(served.platform.archives, "spool", spool)
    head = "\r\n".join(
        [
            f"POST /v1/tenants/{path} HTTP/1.1",
            *("Host: localhost", f"Authorization: {served.operator['Authorization']}"),
            *("Content-Type: application/x-tar", f"Content-Length: {2**40}", "", ""),
        ]
    )
    with dial(served) as stalled:
        stalled.sendall(head.encode() + b"a")
        assert is_cut_off(stalled)
        anyio.run(until, lambda: [each.closed for each in spools] == [True])


def test_connections_over_tcp_leave_files_for_those_who_work(
    served: Served, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)

    with ExitStack() as opened:
        held = [opened.enter_context(dial(served)) for _ in range(3)]
        for each in held:
            each.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert each.recv(100).startswith(b"HTTP/1.1 200 ")
        assert is_cut_off(opened.enter_context(dial(served)))
        assert api.get("/health/live").is_success
