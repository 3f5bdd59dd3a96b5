"""The API over real sockets: the server of the daemon, in a thread beside the test."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from orchestrator.http.app import build_app
from orchestrator.http.serve import bind_tcp, bind_unix, serve
from tests.http.platform import HandMadePlatform

# For a test whose sync client finds nobody: httpcore leaves a socket that could not connect to the
# garbage collector, which is sent for while the test's filters still hold.
LEAVES_A_SOCKET = pytest.mark.filterwarnings(
    "ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed <socket:ResourceWarning",
)


@dataclass
class Served:
    """Where a served platform answers."""

    platform: HandMadePlatform
    path: Path
    port: int

    @property
    def unix(self) -> str:
        return f"unix://{self.path}"

    @property
    def tcp(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def operator(self) -> dict[str, str]:
        """The header that opens everything over TCP."""
        return {"Authorization": f"Bearer {self.platform.tokens.operator}"}


@contextmanager
def event_loop() -> Iterator[BlockingPortal]:
    """Run an event loop in a thread; its end waits for the servers in it."""
    with start_blocking_portal(backend_options={"use_uvloop": True}) as portal:
        yield portal


@contextmanager
def answering(portal: BlockingPortal, platform: HandMadePlatform, path: Path) -> Iterator[Served]:
    """Serve `platform` on a unix socket at `path` and on a free TCP port.

    The body's end is the beginning of the server's, which takes a while.
    """
    control, tcp = bind_unix(path), bind_tcp("127.0.0.1:0")
    port = tcp.getsockname()[1]
    future, _ = portal.start_task(serve, build_app(platform.services()), [control, tcp])
    try:
        yield Served(platform, path, port)
    finally:
        future.cancel()


@contextmanager
def serving(platform: HandMadePlatform, path: Path) -> Iterator[Served]:
    """Serve `platform` in a loop of its own, and return when the server has ended."""
    with event_loop() as portal, answering(portal, platform, path) as served:
        yield served


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    """Return the way into the loop in which the servers of a file run."""
    with event_loop() as running:
        yield running


@pytest.fixture
def left_sockets() -> Iterator[None]:
    """Collect what `LEAVES_A_SOCKET` is about; asked for together with it."""
    yield
    gc.collect()


@pytest.fixture
def platform() -> HandMadePlatform:
    return HandMadePlatform()


@pytest.fixture
def served(portal: BlockingPortal, platform: HandMadePlatform, tmp_path: Path) -> Iterator[Served]:
    with answering(portal, platform, tmp_path / "insula.sock") as running:
        yield running


@pytest.fixture
def api(served: Served) -> Iterator[httpx.Client]:
    """Return a plain HTTP client on the control socket."""
    transport = httpx.HTTPTransport(uds=str(served.path))
    with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as client:
        yield client


@pytest.fixture
def web(served: Served) -> Iterator[httpx.Client]:
    """Return a plain HTTP client on the TCP port, with an operator's token."""
    with httpx.Client(
        base_url=served.tcp, timeout=30, trust_env=False, headers=served.operator
    ) as client:
        yield client
