"""Finds the control socket's directory in a configuration that is broken.

Whoever broke it still has to reach the daemon, which serves the last one that was whole.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.settings import directories

_HEADER = re.compile(r"^\s*\[([^\[\]]*)\]\s*(?:#.*)?$")
_DOTTED = re.compile(r"^\s*node\s*\.\s*runtime_dir\s*=")
_PLAIN = re.compile(r"^\s*runtime_dir\s*=")


def runtime_dir(config: Path | None, environ: Mapping[str, str]) -> Path:
    """Return where the environment or, read line by line, `config` says; else the default."""
    if given := environ.get("INSULA_RUNTIME_DIR"):
        return directories.expanded(given).absolute()
    named = _named(_text(config)) if config is not None else None
    if config is not None and named is not None:
        return directories.beside(config.absolute().parent, named)
    return directories.runtime_dir(environ, is_root=os.geteuid() == 0).absolute()


def _text(config: Path) -> str:
    try:
        return config.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _named(text: str) -> str | None:
    whole = _parsed(text)
    node = whole.get("node") if whole is not None else _node_by_line(text)
    found = node.get("runtime_dir") if isinstance(node, dict) else None
    return found if isinstance(found, str) and found and "\0" not in found else None


def _node_by_line(text: str) -> Any:
    """Return the table [node] as far as single lines of it tell; the file is no TOML."""
    table = ""
    for line in text.split("\n"):
        if header := _HEADER.match(line):
            table = header[1].strip()
        elif table == "node" and _PLAIN.match(line) and (parsed := _parsed(line)):
            return parsed
        elif not table and _DOTTED.match(line) and (parsed := _parsed(line)):
            return parsed["node"]
    return None


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
