"""The installation key and what is derived from it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.model.errors import StartError


def _load(directory: Path, **environ: str) -> InstallationKey:
    return InstallationKey.load_or_create(directory, environ=environ)


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = _load(tmp_path)
    again = _load(tmp_path)

    assert first.password("r") == again.password("r")
    assert [file.name for file in tmp_path.iterdir()] == ["installation.key"]
    assert stat.S_IMODE((tmp_path / "installation.key").stat().st_mode) == 0o600


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    assert _load(tmp_path / "a").password("r") != _load(tmp_path / "b").password("r")


def test_processes_that_race_end_with_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: _load(tmp_path).password("r"), range(16)))

    assert set(keys) == {_load(tmp_path).password("r")}


def test_what_a_killed_process_left_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "installation.key.x1.new").write_text("ab")

    assert _load(tmp_path).password("r") == _load(tmp_path).password("r")
    assert len((tmp_path / "installation.key").read_text().strip()) == 64


def test_a_systemd_credential_comes_first(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "installation.key").write_text("00" * 32)

    key = _load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))

    assert key.password("r") == InstallationKey(bytes(32)).password("r")
    assert not (tmp_path / "installation.key").exists()


@pytest.mark.parametrize("content", ["", "00" * 31, "zz" * 32, "00" * 33, "ü"])
def test_a_damaged_key_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "installation.key").write_text(content)

    with pytest.raises(StartError, match="is not an installation key"):
        _load(tmp_path)

    assert (tmp_path / "installation.key").read_text() == content


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="nowhere"):
        _load(tmp_path / "nowhere")


def test_passwords_differ_by_role_and_rotation() -> None:
    key = InstallationKey(bytes(32))

    passwords = {key.password(role, turn) for role in ("a", "b") for turn in (0, 1)}

    assert len(passwords) == 4


def test_a_verifier_is_what_postgresql_keeps() -> None:
    verifier = InstallationKey(bytes(32)).verifier("r")

    scheme, iterations_and_salt, keys = verifier.split("$")
    assert scheme == "SCRAM-SHA-256"
    assert iterations_and_salt.startswith("4096:")
    assert len(keys.split(":")) == 2


def test_a_key_does_not_print_itself() -> None:
    assert "00" not in repr(InstallationKey(bytes(32)))
