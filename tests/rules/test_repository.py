"""The repository is whole, and can be cloned by anyone: it names no machine, no package host."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = [
    "/" + "work/",
    "/" + "root/",
    "/" + r"opt/(?!insula/|insula$)",
    "/" + r"home/(?!ann\b|alice\b)\w",
    "file:" + "///",
    "pypi" + r"\.org",
    "python" + r"hosted\.org",
    "--" + "index-url",
    "--" + "find-links",
]


def tracked_files() -> list[Path]:
    """Return every file under version control, or every file of an unpacked archive."""
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.split("\0") if (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


def lines_with(pattern: str) -> list[str]:
    """Return the lines of all files of text in which the pattern is, each with its place."""
    wanted = re.compile(pattern)
    found: list[str] = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.split("\n"), start=1):
            if wanted.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    return found


def test_no_file_names_a_machine_or_a_package_host() -> None:
    assert lines_with("|".join(FORBIDDEN)) == []


def test_no_merge_was_left_half_done() -> None:
    assert lines_with(r"^(<{7}|>{7}) ") == []


def test_the_lock_file_has_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^([a-z0-9-]+)==.*\\\n    --hash=sha256:", lock, re.MULTILINE)

    assert "://" not in lock
    assert re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE) == pinned
    assert not re.findall(r"^(?! {4}--hash|[a-z0-9-]+==| *#).+$", lock, re.MULTILINE)


def test_the_lock_file_covers_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["embedded"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))

    assert {re.split("[<>=!~ ;[]", each)[0] for each in wanted} <= pinned


def test_every_dependency_is_justified() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["embedded"],
        *project["dependency-groups"]["dev"],
    ]

    for each in wanted:
        name = re.split("[<>=!~ ;[]", each)[0]
        assert re.search(rf"\b{re.escape(name)}\b", page), name


@pytest.mark.parametrize("target", ["setup", "demo", "test", "check"])
def test_a_target_of_the_first_minutes_is_in_the_help(target: str) -> None:
    listing = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)

    assert f"make {target} " in listing.stdout
