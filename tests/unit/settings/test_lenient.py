"""A broken configuration still tells where the control socket is, as far as it can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.settings import lenient

DEFAULT = {"RUNTIME_DIRECTORY": "/run/default"}


def found(directory: Path, text: str, **environ: str) -> Path:
    """Return what is made of a configuration of that text."""
    config = directory / "insula.toml"
    config.write_text(text, encoding="utf-8")
    return lenient.runtime_dir(config, {**DEFAULT, **environ})


@pytest.mark.parametrize(
    "text",
    [
        '[node]\nnme = 1\nruntime_dir = "/run/x"\n[htp]\n',
        'node.runtime_dir = "/run/x"\nnode.name = \n',
        '[tenants.x\n[node]  # ours\nname = "a"\n  runtime_dir = "/run/x"  # here\n',
        "[node]\r\nruntime_dir = '/run/x'\r\n[[broken\r\n",
        'node = { runtime_dir = "/run/x", nme = 1 }\n',
        '[node]\nruntime_dir = "/run/x"\n[tenants.a]\nname = "\xff"\nname = 2\n',
    ],
)
def test_the_directory_is_found_in_what_can_be_read(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == Path("/run/x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[node]\nname = "a\n',
        '[node]\nruntime_dir = "/run/x\n',
        "[node]\nruntime_dir = 7\n",
        "node = 7\n",
        '[tenants.a.settings]\nruntime_dir = "/run/other"\n[broken\n',
        '[tenants.a]\nnode.runtime_dir = "/run/other"\n[broken\n',
        '[node]\nruntime_dir = "a\\u0000b"\n',
    ],
)
def test_what_can_not_be_read_leaves_the_default(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == Path("/run/default")


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    environ = {"INSULA_RUNTIME_DIR": "/run/y"}

    assert found(tmp_path, 'node.runtime_dir = "/run/x"\n[', **environ) == Path("/run/y")


def test_a_relative_directory_starts_at_the_file(tmp_path: Path) -> None:
    assert found(tmp_path, 'node.runtime_dir = "run"\n[') == tmp_path / "run"


def test_a_file_that_can_not_be_read_leaves_the_default(tmp_path: Path) -> None:
    assert lenient.runtime_dir(tmp_path, DEFAULT) == Path("/run/default")
    assert lenient.runtime_dir(None, DEFAULT) == Path("/run/default")
