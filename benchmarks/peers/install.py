"""The peers, pinned, each in a virtual environment of its own below .bench/peers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks.document import INSULA
from benchmarks.harness import ROOT
from benchmarks.plan import Case
from benchmarks.schedule import Subject

HOME = ROOT / ".bench" / "peers"
INSTALL_SECONDS = 600
TOLD = 300
_UNTOLD = re.compile(r" \(/[^)]*\)")
"""Directories that pip has made for a while."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A library: what is installed, and how many runs of each work it is given.

    The counts make every peer work for some seconds. `steps` tells whether it has durable ones.
    """

    name: str
    requirements: tuple[str, ...]
    counts: Mapping[str, int]
    python: tuple[int, int] = (3, 11)

    @property
    def module(self) -> str:
        """Where its script is."""
        return f"benchmarks.peers.on_{self.name}"


PEERS = (
    Peer(
        name="dbos", requirements=("dbos==3.4.0", "psycopg[binary]==3.3.9"),
        counts={"A": 500, "B": 200, "C": 100, "D": 400, "E": 50},
    ),
    Peer(
        name="pgqueuer", requirements=("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
        counts={"A": 20_000, "C": 200, "D": 10_000, "E": 50},
    ),
    Peer(
        name="procrastinate",
        requirements=("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9", "uvloop==0.23.0"),
        counts={"A": 1_000, "C": 200, "D": 1_000, "E": 50},
    ),
    Peer(
        name="oban", requirements=("oban==0.7.0", "psycopg[binary,pool]==3.3.9"), python=(3, 12),
        counts={"A": 10_000, "C": 200, "D": 5_000, "E": 50},
    ),
    Peer(
        name="absurd",
        requirements=(
            "absurd-sdk==0.5.1", "absurdctl==0.5.1", "psycopg[binary]==3.3.9", "uvloop==0.23.0",
        ),
        counts={"A": 2_000, "B": 500, "C": 50, "D": 2_000, "E": 50},
    ),
    Peer(name="cloaca", requirements=("cloaca==0.12.0",), counts={"A": 300, "B": 100, "C": 50}),
)  # fmt: skip


def subjects(
    cases: Sequence[Case], console: Console, wanted: Set[str] = frozenset()
) -> tuple[list[Subject], dict[str, str]]:
    """Install the peers that are wanted, all without a name; return those that are there.

    The second part says why the others are not.
    """
    found, missing = [], {}
    for peer in [each for each in PEERS if not wanted or each.name in wanted]:
        console.print(f"installing {' '.join(peer.requirements)}", markup=False)
        try:
            python = install(peer)
        except NotInstallable as error:
            console.print(f"{peer.name} is left out: {error}", markup=False)
            missing[peer.name] = str(error)
            continue
        theirs = [
            msgspec.structs.replace(case, count=peer.counts[case.work])
            for case in cases
            if case.work in peer.counts
        ]
        found.append(
            Subject(name=peer.name, module=peer.module, python=python, cases=tuple(theirs))
        )
    return found, missing


class NotInstallable(Exception):
    """A peer is not for this machine: no such Python, or nothing that fits it."""


def install(peer: Peer) -> str:
    """Return the Python of the peer's environment, made now unless it is there and whole."""
    home = HOME / peer.name
    python, mark = home / "bin" / "python", home / "installed"
    wanted = "\n".join(peer.requirements)
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return str(python)
    shutil.rmtree(home, ignore_errors=True)
    _run(_python(peer.python), "-m", "venv", str(home))
    _run(
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--prefer-binary", *peer.requirements,
    )  # fmt: skip
    mark.write_text(wanted, encoding="utf-8")
    return str(python)


def versions(measured: Iterable[Subject]) -> dict[str, str]:
    """Return the release of each peer that is measured."""
    names = {subject.name for subject in measured if subject.name != INSULA}
    pinned = {peer.name: peer.requirements[0].partition("==")[2] for peer in PEERS}
    return {name: version for name, version in pinned.items() if name in names}


def _python(wanted: tuple[int, int]) -> str:
    """Return a Python that is at least as new."""
    if sys.version_info >= wanted:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(wanted[1], wanted[1] + 3)]
    places = [shutil.which(name) for name in names]
    places += [
        str(path)
        for minor in range(wanted[1], wanted[1] + 3)
        for path in sorted(_pyenv().glob(f"versions/3.{minor}.*/bin/python3"))
    ]
    for place in places:
        if place is not None and _works(place, wanted):
            return place
    raise NotInstallable(f"it needs Python {wanted[0]}.{wanted[1]}, and there is none")


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def _works(python: str, wanted: tuple[int, int]) -> bool:
    code = f"import sys; sys.exit(sys.version_info < {wanted})"
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotInstallable(f"not installed after {INSTALL_SECONDS} s") from None
    if done.returncode:
        lines = [_UNTOLD.sub("", line).strip() for line in done.stderr.splitlines()]
        errors = [line.removeprefix("error: ") for line in lines if re.match("error: .* ", line)]
        raise NotInstallable("; ".join(errors[:3])[:TOLD] or f"exit code {done.returncode}")
