"""`[cache] url`: what is refused, and that nothing tells its password."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.settings.cache import cache_url_problems
from orchestrator.settings.load import load


def written(directory: Path, url: str) -> Path:
    """Return a file with this URL."""
    path = directory / "insula.toml"
    path.write_text(f'[cache]\nurl = "{url}"\n')
    return path


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "rediss://ann:p%40ss@db.example/2?ssl_ca_certs=/etc/ca.pem",
        "valkey://[::1]:6379",
        "valkeys://db.example/",
    ],
)
def test_the_url_of_a_server(url: str) -> None:
    assert list(cache_url_problems(url)) == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://db", "does not start with redis://"),
        ("redis://", "no host:port"),
        ("redis://db:99999", "no host:port"),
        ("redis://ann:hu/sh@db", "no host:port"),
        ("redis://ann:hu@sh@db", "no host:port"),
        ("redis://ann:hush@db/first", "names no database"),
        ("redis://ann:hush@db?socket_timeout=0", "unknown option"),
        ("redis://ann:hu sh@db", "a space"),
    ],
)
def test_what_is_no_url_of_a_server(tmp_path: Path, url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        load(written(tmp_path, "${CACHE}"), {"CACHE": url})

    assert "cache.url" in str(caught.value)
    assert "hu" not in str(caught.value).replace("such", "")


def test_the_password_comes_from_elsewhere_and_is_shown_nowhere(tmp_path: Path) -> None:
    snapshot = load(written(tmp_path, "redis://:${WORD}@db"), {"WORD": "hush"})

    assert snapshot.cache_url == "redis://:hush@db"
    assert "WORD" in snapshot.secret_variables
    assert "hush" not in repr(snapshot) + repr(snapshot.settings)


def test_without_the_library_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigError, match=r"cache\.url.*pip install 'insula\[redis\]'"):
        load(written(tmp_path, "redis://db"), {})
