"""The log: one event a line on stderr, JSON for machines, columns for people."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any, Literal, Protocol
from uuid import UUID

import structlog

from orchestrator.model.text import block

_ATTEMPT: ContextVar[tuple[UUID, str, int] | None] = ContextVar("attempt", default=None)


class Hides(Protocol):
    """Takes secrets out of text."""

    def hide(self, text: str, /) -> str:
        """Return `text` with names in the place of secrets."""
        ...


_REVEALED: ContextVar[Hides | None] = ContextVar("revealed", default=None)


def set_up(level: str, form: Literal["auto", "json", "console"]) -> None:
    """Configure structlog for the process; `auto` is for people on a terminal and JSON elsewhere.

    Every line carries what was bound to its task (tenant, run, task, attempt) and its time in UTC.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        _AtLeast(level),
        structlog.contextvars.merge_contextvars,
        _add_attempt,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _hide_secrets,
    ]
    ending: list[structlog.typing.Processor] = (
        [
            _spell_control_characters,
            # Plain: the pretty ones show local variables, and with them passwords and inputs.
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
        if console
        else [structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *ending],
        # All of it: loggers keep what they were first used with, and the level can be changed.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say: a line like ours, not text between the lines.
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def name_attempt(run: UUID, task: str, attempt: int) -> None:
    """Have every line that the present task of the event loop writes tell its attempt.

    Kept as it is: most attempts write no line, and the texts would cost as much as a small one.
    """
    _ATTEMPT.set((run, task, attempt))


def hide_secrets(revealed: Hides) -> None:
    """Have no line that the present task of the event loop writes show what is `revealed` to it."""
    _REVEALED.set(revealed)


def set_level(level: str) -> None:
    """Change the least important event that is written, after `set_up`."""
    for processor in structlog.get_config()["processors"]:
        if isinstance(processor, _AtLeast):
            processor.level = _number(level)


class _AtLeast:
    """Drops what is less important than `level`."""

    def __init__(self, level: str) -> None:
        self.level = _number(level)

    def __call__(
        self, _logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if _number(method) < self.level:
            raise structlog.DropEvent
        return event


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _hide_secrets(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Show names in the place of the secrets that the attempt which logs has read."""
    revealed = _REVEALED.get()
    return {key: _without(each, revealed) for key, each in event.items()} if revealed else event


def _without(value: Any, revealed: Hides) -> Any:
    if value is None or isinstance(value, bool):
        return value
    text = value if isinstance(value, str) else repr(value)
    hidden = revealed.hide(text)
    return value if hidden == text else hidden


def _add_attempt(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    attempt = _ATTEMPT.get()
    if attempt is None:
        return event
    run, task, number = attempt
    return {"run": str(run), "task": task, "attempt": number, **event}


def _spell_control_characters(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Keep what tenants stored and tasks raised from driving the terminal."""
    return {key: block(each) if isinstance(each, str) else each for key, each in event.items()}


class _Forward(logging.Handler):
    """Hands what libraries log through the standard library to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger().log(
                record.levelno,
                "library.message",
                library=record.name,
                message=record.getMessage(),
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001 - a log line must not end what it tells of
            self.handleError(record)
