"""Reads the values that people write on a command line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import msgspec
import typer

from orchestrator.model.api import MAX_BODY
from orchestrator.settings.duration import Duration


def read_input(text: str) -> dict[str, Any]:
    """Return a run's input: JSON itself, `@FILE` that holds it, or `-` for stdin.

    >>> read_input('{"month": 1}')
    {'month': 1}
    """
    value = read_json(text, "--input")
    if not isinstance(value, dict):
        sentence = f'{_place(text)} is not a JSON object such as {{"month": 1}}'
        raise typer.BadParameter(sentence, param_hint="--input")
    return value


def read_json(text: str, option: str) -> Any:
    """Return the value of an option: JSON itself, `@FILE` that holds it, or `-` for stdin.

    >>> read_json("[1, 2]", "--data")
    [1, 2]
    """
    if text == "@":
        raise typer.BadParameter("the @ needs a file after it", param_hint=option)
    content: str | bytes = text
    try:
        if text == "-":
            content = sys.stdin.buffer.read(MAX_BODY + 1)
        elif text.startswith("@"):
            with Path(text[1:]).open("rb") as file:
                content = file.read(MAX_BODY + 1)
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        sentence = f"{_place(text)} can not be read: {reason}"
        raise typer.BadParameter(sentence, param_hint=option) from None
    if len(content) > MAX_BODY:
        sentence = f"{_place(text)} is larger than {MAX_BODY // 2**20} MiB"
        raise typer.BadParameter(sentence, param_hint=option)
    if not content.strip():
        raise typer.BadParameter(f"{_place(text)} is empty", param_hint=option)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        sentence = f"{_place(text)} is not JSON: {error}"
        raise typer.BadParameter(sentence, param_hint=option) from None


def read_settings(pairs: list[str]) -> dict[str, Any]:
    """Return `--set key=value` pairs; a value that is JSON is that, any other is text.

    >>> read_settings(["limits.max_queue_length=500", "name=ACME"])
    {'limits.max_queue_length': 500, 'name': 'ACME'}
    """
    found: dict[str, Any] = {}
    problems: list[str] = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            problems.append(f"{pair!r} is not KEY=VALUE, such as limits.max_queue_length=500")
        elif key in found:
            problems.append(f"{key!r} is given twice")
        try:
            found[key] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            found[key] = text
    if problems:
        raise typer.BadParameter("; ".join(problems), param_hint="--set")
    return found


def read_moment(
    text: str, option: str, *, zone: tzinfo | None = None, now: datetime | None = None
) -> datetime:
    """Return a moment from a time or from how long ago it was.

    A time without an offset is of `zone`, by default this machine's.

    >>> read_moment("2h", "--since", now=datetime(2026, 1, 1, 12, tzinfo=UTC)).hour
    10
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or zone).astimezone(zone)
    except (ValueError, OverflowError):
        pass
    try:
        return (now or datetime.now(UTC)) - Duration.parse(text)
    except (ValueError, OverflowError):
        sentence = f"{text!r} is neither a time like 2026-01-31T09:00 nor a while like 2h"
        raise typer.BadParameter(sentence, param_hint=option) from None


def read_time(text: str | None, option: str) -> datetime | None:
    """Return a time of day; one without an offset is of this machine's zone."""
    try:
        return datetime.fromisoformat(text).astimezone() if text is not None else None
    except (ValueError, OverflowError):
        sentence = f"{text!r} is not a time like 2026-01-31T09:00"
        raise typer.BadParameter(sentence, param_hint=option) from None


def read_seconds(text: str | None, option: str) -> float:
    """Return a span of time such as 30s or 5m in seconds; 0 when it was not given.

    >>> read_seconds("5m", "--wait")
    300.0
    """
    checked = checked_duration(text, option)
    return 0.0 if checked is None else Duration.parse(checked).total_seconds()


def checked_duration(text: str | None, option: str) -> str | None:
    """Return a span of time such as 5m as it was written, once it is known to be one."""
    try:
        _ = Duration.parse(text) if text is not None else None
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    return text


def _place(text: str) -> str:
    if text == "-":
        return "stdin"
    return f"the file {text[1:]}" if text.startswith("@") else "it"
