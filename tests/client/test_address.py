"""How a client reaches a daemon."""

from __future__ import annotations

import ssl

import pytest

from orchestrator.client.client import Client, SyncClient
from orchestrator.model.errors import InvalidRequest


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the times that certificates were read, which takes longer than most calls."""
    times: list[str] = []
    original = ssl.create_default_context

    def count(*args: object, **options: object) -> ssl.SSLContext:
        times.append("read")
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl, "create_default_context", count)
    return times


@pytest.mark.parametrize("kind", [Client, SyncClient])
@pytest.mark.parametrize("url", ["unix:///run/insula/insula.sock", "http://127.0.0.1:8088"])
def test_no_certificates_are_read_where_there_is_no_tls(
    kind: type[Client | SyncClient], url: str, read: list[str]
) -> None:
    kind(url)

    assert read == []


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_they_are_read_and_asked_for_where_there_is(
    kind: type[Client | SyncClient], read: list[str]
) -> None:
    kind("https://insula.example")

    assert read == ["read"]


@pytest.mark.parametrize("kind", [Client, SyncClient])
def test_a_token_is_not_sent_over_a_network_in_plain_text_unless_told_so(
    kind: type[Client | SyncClient],
) -> None:
    for url in ("http://insula.example:8088", "http://10.0.0.1", "http://localhost.example"):
        with pytest.raises(InvalidRequest, match="a token is not sent to") as refused:
            kind(url, token="t")
        assert "plain_http=True" in (refused.value.hint or "")
        kind(url)
        kind(url, token="t", plain_http=True)

    for url in ("http://127.0.0.2:8088", "http://[::1]:8088", "http://localhost", "unix:///s"):
        kind(url, token="t")
    kind("https://insula.example", token="t")
