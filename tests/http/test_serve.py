"""The sockets of the API and the life of its server."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest

from orchestrator.http.serve import bind_tcp, bind_unix
from orchestrator.model.errors import PortInUse, StartError
from tests.http.platform import HandMadePlatform
from tests.http.serving import serving
from tests.support.wait import until


def test_the_socket_is_for_owner_and_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with bind_unix(tmp_path / "run" / "insula.sock"):
            mode = (tmp_path / "run" / "insula.sock").stat().st_mode
            assert stat.S_IMODE(mode) == 0o660
            assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o750
        assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "insula.sock"
    bind_unix(path).close()

    with bind_unix(path), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_live_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "insula.sock"

    with bind_unix(path), pytest.raises(StartError, match="another daemon answers"):
        bind_unix(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "insula.sock"
    path.write_text("precious")

    with pytest.raises(StartError, match="not a socket"):
        bind_unix(path)

    assert path.read_text() == "precious"


def test_a_socket_path_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="107 bytes"):
        bind_unix(tmp_path / ("x" * 108))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "insula-0"
    directory.mkdir()
    os.chown(directory, 65534, 65534)

    with pytest.raises(StartError, match="belongs to user 65534"):
        bind_unix(directory / "insula.sock")


def test_a_taken_port_says_so() -> None:
    with bind_tcp("127.0.0.1:0") as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortInUse, match=f"listens on 127.0.0.1:{port}"):
            bind_tcp(f"127.0.0.1:{port}")


@pytest.mark.parametrize("listen", ["0.0.0.0:8088", "192.0.2.1:80", "[::]:8088"])
def test_an_address_of_the_network_is_refused(listen: str) -> None:
    with pytest.raises(StartError, match="tokens in plain text"):
        bind_tcp(listen)


@pytest.mark.parametrize("listen", ["8088", "127.0.0.1", "127.0.0.1:http", "[::1", "host:80"])
def test_an_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(StartError, match="not an address"):
        bind_tcp(listen)


def test_the_socket_file_goes_with_the_server(platform: HandMadePlatform, tmp_path: Path) -> None:
    path = tmp_path / "insula.sock"

    with serving(platform, path):
        assert path.exists()

    assert not path.exists()


def test_the_socket_file_of_a_successor_stays(platform: HandMadePlatform, tmp_path: Path) -> None:
    path = tmp_path / "insula.sock"

    with serving(platform, path):
        path.rename(tmp_path / "old.sock")
        successor = bind_unix(path)

    assert path.exists()
    successor.close()


def test_the_server_leaves_signals_to_the_daemon(
    platform: HandMadePlatform, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    with serving(platform, tmp_path / "insula.sock"):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_closing_server_answers_those_who_wait(
    platform: HandMadePlatform, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as threads:
        with serving(platform, tmp_path / "insula.sock") as served:
            runs = f"{served.tcp}/v1/tenants/acme_corp/runs"
            ours: Any = {"headers": served.operator, "trust_env": False}
            run = httpx.post(runs, json={"workflow": "slow"}, **ours).json()["id"]
            waiting = threads.submit(httpx.get, f"{runs}/{run}?wait=60", timeout=60, **ours)
            anyio.run(until, lambda: platform.looks >= 2)
            begin = time.monotonic()

        assert waiting.result().json()["state"] == "running"
        assert time.monotonic() - begin < 4
        assert UUID(run) in platform.runs[platform.resolve("acme_corp")]
