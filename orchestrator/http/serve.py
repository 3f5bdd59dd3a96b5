"""The sockets of the API, and the server that answers on them until it is cancelled."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import uvicorn
from anyio.abc import TaskStatus
from litestar import Litestar

from orchestrator.http.protocol import PeerProtocol
from orchestrator.model.errors import PortInUse, StartError
from orchestrator.settings.directories import SOCKET_PATH_BYTES
from orchestrator.settings.http import IpAddress, read_listen

SOCKET_MODE = 0o660

BACKLOG = 1024
GRACE = 5
"""Whole seconds that open requests get to finish when the server ends."""

KEEP_ALIVE = 75


def bind_unix(path: Path, mode: int = SOCKET_MODE) -> socket.socket:
    """Return a listening unix socket at `path`, never open to more than `mode` lets in.

    What a killed daemon left there is replaced; StartError when one answers, or it is no socket.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise StartError(
            f"the socket path {str(path)!r} is longer than {SOCKET_PATH_BYTES} bytes",
            hint="set node.runtime_dir to a shorter directory",
        )
    _prepare_directory(path.parent)
    _remove_stale(path)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The umask closes the moment between bind and chmod in which others could connect.
        with _umask(0o777 & ~mode):
            control.bind(os.fspath(path))
        path.chmod(mode)
        # Listening already: a second daemon that looks now finds an answer, not a stale file.
        control.listen(BACKLOG)
    except OSError as error:
        control.close()
        raise StartError(f"can not listen at {path}: {error.strerror}") from error
    return control


def bind_tcp(listen: str, *, anywhere: bool = False) -> socket.socket:
    """Return a listening TCP socket for `host:port`; only `anywhere` may it not be loopback.

    Raises PortInUse when the port is taken.
    """
    host, port = _address(listen, anywhere=anywhere)
    family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(host), port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"another process listens on {listen}",
                hint=f"stop it (`ss -ltnp sport = :{port}` names it) or change http.listen",
            ) from error
        raise StartError(f"can not listen on {listen}: {error.strerror}") from error
    return listener


async def serve(
    app: Litestar,
    sockets: Sequence[socket.socket],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Answer on `sockets` until cancelled; open requests then get a few seconds, and files go.

    Signals are the daemon's business: only the parts of uvicorn's server that leave them alone run.
    """
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with ExitStack() as files:
        for each in sockets:
            files.enter_context(_removed_at_end(each))
        await server.startup(sockets=list(sockets))
        # What goes on when whoever asked for it has gone.
        async with anyio.create_task_group() as app.state.background:
            task_status.started()
            try:
                await _keep_date(server)
            finally:
                app.state.closing.set()
                with anyio.CancelScope(shield=True):
                    await server.shutdown(sockets=list(sockets))


async def _keep_date(server: uvicorn.Server) -> None:
    """Keep the date of the answers right.

    The server's own loop also looks ten times a second whether it is to end, which nobody asks it.
    """
    while True:
        await server.on_tick(0)
        await anyio.sleep(1.0)


def _address(listen: str, *, anywhere: bool) -> tuple[IpAddress, int]:
    try:
        address, port = read_listen(listen)
    except ValueError as error:
        raise StartError(
            f"{listen!r} is not an address to listen on", hint="for example 127.0.0.1:8088"
        ) from error
    if not (address.is_loopback or anywhere):
        raise StartError(
            f"{listen!r} would open the API to the network, with tokens in plain text",
            hint="listen on a loopback address such as 127.0.0.1:8088, or see behind_tls_proxy",
        )
    return address, port


def _prepare_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        owner = directory.stat().st_uid
    except OSError as error:
        raise StartError(f"can not make {directory}: {error.strerror}") from error
    # In a shared place like /tmp another user could have made it first, and replace the socket.
    if owner not in {0, os.geteuid()}:
        raise StartError(
            f"{directory} belongs to user {owner}, not to us",
            hint="set node.runtime_dir to a directory of this user",
        )


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartError(f"{path} is in the way: it is not a socket", hint="move it elsewhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise StartError(f"{path} is in the way: {error.strerror or error}") from error
    raise StartError(
        f"another daemon answers at {path}",
        hint="stop it, or give this one another node.runtime_dir",
    )


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _removed_at_end(listener: socket.socket) -> Iterator[None]:
    name = listener.getsockname()
    if listener.family != socket.AF_UNIX or not name:
        yield
        return
    path = Path(os.fsdecode(name))
    ours = path.stat().st_ino
    try:
        yield
    finally:
        # Only our own file: a successor may have put its socket there by now.
        if path.exists() and path.stat().st_ino == ours:
            path.unlink()
