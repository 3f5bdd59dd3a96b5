"""The help of the commands: all of them are listed, each with an example that could be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.cli.main import COMPLETION, GROUPS, commands, main
from tests.cli.conftest import Insula


def groups(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each group."""
    if hasattr(command, "commands"):
        yield path
        for name, child in command.commands.items():
            yield from groups(child, (*path, name))


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each command that does something."""
    for name, child in command.commands.items():
        if hasattr(child, "commands"):
            yield from leaves(child, (*path, name))
        else:
            yield (*path, name)


def at(path: tuple[str, ...]) -> Any:
    """Return the command of a path."""
    found = commands()
    for name in path:
        found = found.commands[name]
    return found


@pytest.mark.parametrize("path", [*groups(commands())], ids=" ".join)
def test_the_help_of_a_group_lists_each_of_its_commands_once(
    local: Insula, path: tuple[str, ...]
) -> None:
    listed = re.findall(r"^  ([a-z][a-z-]*)  +\S", local(*path, "--help").out, re.MULTILINE)

    assert sorted(listed) == sorted(at(path).commands)


def test_the_long_help_of_tenants_is_in_sections(local: Insula) -> None:
    said = local("tenant").out

    for heading in GROUPS["tenant"].sections:
        assert f"\n{heading}:\n" in said
    assert "..." not in said.partition("\n")[2]


@pytest.mark.parametrize("path", [*leaves(commands())], ids=" ".join)
def test_the_example_of_a_command_is_one_that_it_takes(path: tuple[str, ...]) -> None:
    command = at(path)
    _, _, example = command.help.partition("\n\nExample: ")

    typed = shlex.split(re.sub(r"^\w+ \"\$\((.*)\)\"$", r"\1", " ".join(example.split())))
    given = typed[: next((i for i, word in enumerate(typed) if word in "<>|"), len(typed))]

    assert tuple(given[: len(path) + 1]) == ("insula", *path)
    command.make_context(path[-1], given[len(path) + 1 :])


@pytest.mark.parametrize(
    ("line", "follows"),
    [
        ("insula sched", {"schedule"}),
        ("insula tenant pa", {"pause"}),
        ("insula tenant pause --wo", {"--workflow"}),
    ],
)
def test_a_shell_is_told_what_may_follow(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    follows: set[str],
) -> None:
    monkeypatch.setenv(COMPLETION, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))

    assert main([]) == 0

    assert set(capsys.readouterr().out.split()) == follows
