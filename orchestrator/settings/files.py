"""Reads configuration files and remembers where everything in them stands."""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.model.errors import ConfigError
from orchestrator.settings.decode import Fault
from orchestrator.settings.directories import expanded
from orchestrator.settings.lines import Lines

SHARED_TABLES = ("tenants", "tiers")
"""What an included file may hold."""

_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Source:
    """One file: what it says, and what is wrong with it."""

    def __init__(self, path: Path, text: str, raw: dict[str, Any]) -> None:
        self.path = path
        self.raw = raw
        self.faults: list[Fault] = []
        self._lines = Lines(text)

    @property
    def directory(self) -> Path:
        """Where the relative paths in it start."""
        return self.path.absolute().parent

    def where(self, path: tuple[str | int, ...]) -> str:
        """Return `file:line` of a key."""
        return f"{self.path}:{self._lines.of(path)}"

    def problems(self) -> list[str]:
        """Return the faults as `file:line: sentence`, from the top of the file."""
        ordered = sorted(self.faults, key=lambda fault: self._lines.of(fault.path))
        return [f"{self.where(fault.path)}: {fault}" for fault in ordered]


def read_source(path: Path) -> Source:
    """Read one TOML file; raises ConfigError when it can not be read or is no TOML."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError([f"{path}: can not be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8 text"]) from None
    text = text.replace("\r\n", "\n")
    try:
        return Source(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(path, text, str(error))]) from None
    except RecursionError:
        raise ConfigError([f"{path}:1: is nested too deeply"]) from None


def read_included(main: Source, patterns: list[str], problems: list[str]) -> list[Source]:
    """Read the files that `patterns` name, each once, in the order of their names."""
    found: dict[Path, Path] = {}
    for index, pattern in enumerate(patterns):
        if problem := _unlistable(main.path.parent / pattern):
            main.faults.append(Fault(("include", index), problem))
        for path in _matching(main.path.parent / pattern):
            found.setdefault(path.resolve(), path)
    found.pop(main.path.resolve(), None)
    sources: list[Source] = []
    for path in found.values():
        try:
            source = read_source(path)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        for key in source.raw.keys() - SHARED_TABLES:
            sentence = "an included file may only have [tenants.*] and [tiers.*]"
            source.faults.append(Fault((key,), sentence))
        sources.append(source)
    return sources


def resolve_secret(text: str, environ: Mapping[str, str], directory: Path) -> str:
    """Return `text` with `${NAME}` replaced, or what the file of `file:PATH` holds.

    Raises ValueError, without the secret, when a variable is not set or the file can not be read.
    """
    if text.startswith("file:"):
        path = directory / expanded(text.removeprefix("file:"))
        try:
            return path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ValueError(f"the file {path} can not be read: {reason}") from None

    def variable(match: re.Match[str]) -> str:
        name = match[1]
        if not _NAME.fullmatch(name):
            raise ValueError(f"{match[0]!r} names no environment variable")
        if name not in environ:
            raise ValueError(f"the environment variable {name} is not set")
        return environ[name]

    return _VARIABLE.sub(variable, text)


def variables_of(text: str) -> frozenset[str]:
    """Return the environment variables that `resolve_secret` puts into `text`."""
    return frozenset(_VARIABLE.findall(text))


def _unlistable(pattern: Path) -> str:
    """Say why the files of a pattern can not be listed; to find none would drain every tenant."""
    if not glob.has_magic(str(pattern)):
        return "" if pattern.exists() else f"there is no file {pattern}"
    directory = pattern.parent
    while glob.has_magic(str(directory)):
        directory = directory.parent
    if not directory.is_dir():
        return f"there is no directory {directory}"
    if not os.access(directory, os.R_OK | os.X_OK):
        return f"the directory {directory} can not be read"
    return ""


def _matching(pattern: Path) -> list[Path]:
    # glob.glob leaves out names that begin with a dot (editors' locks and backups), Path.glob does
    # not. A dangling link stays in, to be reported: a tenant must not vanish by it.
    names = glob.glob(os.fspath(pattern), recursive=True)  # noqa: PTH207
    return sorted(path for path in map(Path, names) if not path.is_dir())


def _syntax_problem(path: Path, text: str, message: str) -> str:
    match = _POSITION.search(message)
    if match is None:
        return f"{path}:1: {message}"
    line = int(match[1]) if match[1] else text.rstrip("\n").count("\n") + 1
    return f"{path}:{line}: is no valid TOML here: {message[: match.start()]}"
