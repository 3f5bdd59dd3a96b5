"""Where state and control socket go when nothing says it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.model.errors import ConfigError
from orchestrator.settings.directories import beside, control_socket, runtime_dir, state_dir

HOME = {"HOME": "/home/ann"}


@pytest.mark.parametrize(
    ("environ", "is_root", "expected"),
    [
        (HOME, False, "/home/ann/.local/state/insula"),
        (HOME, True, "/var/lib/insula"),
        ({**HOME, "XDG_STATE_HOME": "/x"}, False, "/x/insula"),
        ({**HOME, "XDG_STATE_HOME": "relative"}, False, "/home/ann/.local/state/insula"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, True, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/s", "XDG_STATE_HOME": "/x"}, False, "/s"),
    ],
)
def test_environment_and_user_say_where_the_state_goes(
    environ: dict[str, str], is_root: bool, expected: str
) -> None:
    assert state_dir(environ, is_root=is_root) == Path(expected)


@pytest.mark.parametrize(
    ("environ", "is_root", "expected"),
    [
        (HOME, True, "/run/insula"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, False, "/run/user/7/insula"),
        ({"XDG_RUNTIME_DIR": "relative"}, False, f"/tmp/insula-{os.geteuid()}"),
        (HOME, False, f"/tmp/insula-{os.geteuid()}"),
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, False, "/run/a"),
    ],
)
def test_environment_and_user_say_where_the_socket_goes(
    environ: dict[str, str], is_root: bool, expected: str
) -> None:
    assert runtime_dir(environ, is_root=is_root) == Path(expected)


def test_a_socket_path_may_be_as_long_as_the_system_allows_and_no_longer() -> None:
    longest = Path("/" + "x" * (107 - len("//insula.sock")))

    assert len(os.fsencode(control_socket(longest))) == 107
    with pytest.raises(ConfigError, match="has 108 bytes; a socket may have 107"):
        control_socket(Path(f"{longest}x"))


def test_a_directory_beside_the_files_is_named_without_the_way_up(tmp_path: Path) -> None:
    assert beside(tmp_path / "config", "../state") == tmp_path.resolve() / "state"
    assert beside(tmp_path, "state") == tmp_path / "state"
    assert beside(tmp_path, "/var/lib/insula") == Path("/var/lib/insula")


def test_the_way_up_from_a_linked_directory_is_that_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "shop" / "config").mkdir(parents=True)
    (tmp_path / "etc").symlink_to(tmp_path / "shop" / "config")

    assert beside(tmp_path / "etc", "../state") == (tmp_path / "shop" / "state").resolve()
