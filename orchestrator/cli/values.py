"""Reads the values that people write on a command line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import typer

from orchestrator.settings.duration import Duration


def read_input(text: str) -> dict[str, Any]:
    """Return a run's input: JSON itself, `@FILE` that holds it, or `-` for stdin.

    >>> read_input('{"month": 1}')
    {'month': 1}
    """
    where = "it"
    content: str | bytes = text
    try:
        if text == "-":
            where, content = "stdin", sys.stdin.buffer.read()
        elif text.startswith("@"):
            where, content = text[1:], Path(text[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{where}: {error.strerror}", param_hint="--input") from None
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise typer.BadParameter(f"{where} is not JSON: {error}", param_hint="--input") from None
    if not isinstance(value, dict):
        sentence = f'{where} is not a JSON object such as {{"month": 1}}'
        raise typer.BadParameter(sentence, param_hint="--input")
    return value


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """Return `--set key=value` pairs; a value that is JSON is that, any other is text.

    >>> read_settings(["limits.max_queue_length=500", "name=ACME"])
    {'limits.max_queue_length': 500, 'name': 'ACME'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            sentence = f"{pair!r} is not KEY=VALUE, such as limits.max_queue_length=500"
            raise typer.BadParameter(sentence, param_hint="--set")
        try:
            found[key] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            found[key] = text
    return found


def read_since(text: str, now: datetime | None = None) -> datetime:
    """Return a moment from a time (ours, unless it has an offset) or from how long ago it was.

    >>> read_since("2h", datetime(2026, 1, 1, 12, tzinfo=UTC)).hour
    10
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        pass
    try:
        return (now or datetime.now(UTC)) - Duration.parse(text)
    except (ValueError, OverflowError):
        sentence = f"{text!r} is neither a time like 2026-01-31T09:00 nor a while like 2h"
        raise typer.BadParameter(sentence, param_hint="--since") from None
