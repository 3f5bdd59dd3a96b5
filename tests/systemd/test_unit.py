"""The unit files: systemd finds nothing to say about them, and calls them well locked up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.systemd.units import (
    NOTIFY_RELOAD,
    TEMPLATE,
    UNIT,
    UNIX_SOCKET,
    installed,
    needs,
    run,
    settings,
    version,
)

UNITS = [(UNIT,), (TEMPLATE,), (UNIT, UNIX_SOCKET), (TEMPLATE, UNIX_SOCKET)]


@needs("systemd-analyze")
@pytest.mark.parametrize("files", [*UNITS, (UNIT, NOTIFY_RELOAD), (TEMPLATE, NOTIFY_RELOAD)])
def test_systemd_has_nothing_to_say_about_a_unit(tmp_path: Path, files: tuple[str, ...]) -> None:
    verified = run("systemd-analyze", "verify", installed(tmp_path, *files))

    # An unknown key or value is only a warning, and the exit code stays 0.
    said = verified.stdout + verified.stderr
    if NOTIFY_RELOAD in files and version() < 253:
        # Older ones do not know what the drop-in is for; that is all they have to say of it.
        assert said.endswith(": Failed to parse service type, ignoring: notify-reload\n")
        assert said.count("\n") == 1
    else:
        assert said == ""
    assert verified.returncode == 0


@needs("systemd-analyze")
@pytest.mark.parametrize("files", UNITS)
def test_a_unit_is_locked_up_well(tmp_path: Path, files: tuple[str, ...]) -> None:
    tenths = 3 if UNIX_SOCKET in files else 12

    secured = run(
        "systemd-analyze",
        *("security", "--offline=yes", f"--threshold={tenths}", "--no-pager"),
        installed(tmp_path, *files),
    )

    assert secured.returncode == 0, secured.stdout
    assert "Overall exposure level" in secured.stdout


def test_a_wrong_configuration_is_not_restarted() -> None:
    assert ("RestartPreventExitStatus", "78") in settings(UNIT)


@pytest.mark.parametrize(("unit", "file"), [(UNIT, "insula"), (TEMPLATE, "%i")])
def test_start_and_reload_read_the_same_file(unit: str, file: str) -> None:
    commands = dict(settings(unit))

    assert commands["ExecStart"].endswith(f" serve --config /etc/insula/{file}.toml")
    assert commands["ExecReload"].endswith(f" reload --wait --config /etc/insula/{file}.toml")


def test_an_instance_is_the_unit_but_for_its_name_its_places_and_the_common_key() -> None:
    unit, template = set(settings(UNIT)), set(settings(TEMPLATE))

    assert template - unit == {
        ("Description", "Insula workflow orchestrator, node %i"),
        ("Environment", "INSULA_NODE_NAME=%i"),
        ("LoadCredential", "installation.key:/etc/insula/installation.key"),
        ("ExecStart", "/opt/insula/bin/insula serve --config /etc/insula/%i.toml"),
        ("ExecReload", "/opt/insula/bin/insula reload --wait --config /etc/insula/%i.toml"),
        # Beside those of insula.service, not below: systemd removes them whole when it stops.
        ("StateDirectory", "insula-%i"),
        ("RuntimeDirectory", "insula-%i"),
    }
    replaced = {name for name, _ in template - unit} - {"Environment", "LoadCredential"}
    assert {name for name, _ in unit - template} == replaced
