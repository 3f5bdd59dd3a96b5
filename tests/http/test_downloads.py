"""What is sent for long is sent only as long as the token is valid that asked for it."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

import httpx
import pytest
from structlog.testing import capture_logs

from orchestrator.http import follow
from orchestrator.http.app import build_app
from orchestrator.model.tokens import Role
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served

SIZE = 1 << 26
"""More than the sockets between server and client hold."""

PATHS = ("backup", "export")


@pytest.fixture
def made(platform: HandMadePlatform, monkeypatch: pytest.MonkeyPatch) -> list[BinaryIO]:
    """Return the files that are made for downloads from now on."""
    files: list[BinaryIO] = []

    async def large(*_: Any, **__: Any) -> BinaryIO:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever gets it closes it
        file.truncate(SIZE)
        files.append(file)
        return file

    for name in PATHS:
        monkeypatch.setattr(platform.archives, name, large)
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.0)
    return files


def downloaded(served: Served, token: str, path: str, then: Callable[[], None]) -> int:
    """Return how many bytes come of a download of acme's; `then` is done once it has begun."""
    head = "\r\n".join(
        [
            f"POST /v1/tenants/acme_corp/{path} HTTP/1.1",
            *("Host: localhost", "Connection: close", f"Authorization: Bearer {token}"),
            *("Content-Type: application/json", "Content-Length: 0", "", ""),
        ]
    )
    count = 0
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(head.encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        then()
        try:
            while piece := client.recv(1 << 20):
                count += len(piece)
        except ConnectionResetError:
            return count
    return count


@pytest.mark.parametrize("path", PATHS)
def test_a_download_is_cut_off_when_its_token_is_revoked(
    served: Served, platform: HandMadePlatform, made: list[BinaryIO], path: str
) -> None:
    token = platform.tokens.make("acme_corp", Role.ADMIN)

    whole = downloaded(served, token, path, lambda: None)
    cut = downloaded(served, token, path, lambda: platform.tokens.void(token))

    assert cut < SIZE < whole
    assert [file.closed for file in made] == [True, True]


def test_a_token_that_is_revoked_while_the_file_is_made_gets_nothing_of_it(
    served: Served,
    platform: HandMadePlatform,
    made: list[BinaryIO],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token, make = platform.tokens.make("acme_corp", Role.ADMIN), platform.archives.backup

    async def slowly(*_: Any, **__: Any) -> BinaryIO:
        platform.tokens.void(token)
        return await make(*_, **__)

    monkeypatch.setattr(platform.archives, "backup", slowly)
    with httpx.Client(base_url=served.tcp, trust_env=False) as client:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        answer = client.post("/v1/tenants/acme_corp/backup", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert [file.closed for file in made] == [True]


async def test_who_goes_away_in_the_middle_of_a_body_is_no_error_of_the_daemon(
    platform: HandMadePlatform,
) -> None:
    app: Any = build_app(platform.services())
    scope = httpx.Request("POST", "http://localhost/v1/tenants/acme_corp/runs")
    sent: list[Any] = []

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with capture_logs() as lines:
        await app(
            {
                "type": "http",
                "method": "POST",
                "path": scope.url.path,
                "raw_path": scope.url.raw_path,
                "query_string": b"",
                "headers": [(b"content-type", b"application/json")],
                "client": ("uid 0", 1),
                "state": {},
            },
            gone,
            send,
        )

    assert [(line["event"], line["log_level"]) for line in lines] == [("http.caller_gone", "info")]
    assert platform.started == []
