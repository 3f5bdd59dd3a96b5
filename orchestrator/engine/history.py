"""A recorded history: what happened to a run, as it was exported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.engine import entries
from orchestrator.engine.entries import AnyEntry
from orchestrator.model.api import EventView, RunView
from orchestrator.model.errors import InvalidRequest

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"\s*")


class History(msgspec.Struct, frozen=True):
    """The events of a run and, where it was exported too, the run itself: it knows its input.

    Raises InvalidRequest when events are missing or are none of ours.
    """

    events: Sequence[EventView]
    run: RunView | None = None

    def __post_init__(self) -> None:
        for expected, event in enumerate(self.events):
            if event.number != expected:
                raise InvalidRequest(
                    f"event {expected} is missing: event {event.number} stands in its place",
                    hint="a history begins with event 0 and has no gaps",
                )
        if not self.events:
            raise InvalidRequest("there are no events in it")

    @classmethod
    def read(cls, source: History | Path | str | Iterable[EventView]) -> History:
        """Return the history in a file, in its text, or of a list of events.

        The text is what `insula run events --json` prints, with `--follow` or without, or what the
        HTTP API answers; the document of `insula run show --json` may stand before or after it.
        """
        if isinstance(source, History):
            return source
        if isinstance(source, Path):
            try:
                source = source.read_text()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                raise InvalidRequest(f"it can not be read: {reason}") from None
        if not isinstance(source, str):
            return cls(list(source))
        events: list[EventView] = []
        run: RunView | None = None
        for value in _flat(_values(source)):
            if "event" in value:
                events.append(_as(EventView, value))
            else:
                run = _as(RunView, value)
        return cls(events, run)

    def entries(self) -> list[AnyEntry]:
        """Return the entries of the journal that the events show."""
        try:
            return entries.decode(msgspec.json.encode([e.event for e in self.events]).decode())
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"it has an event that is not known here: {error}") from None


def _values(text: str) -> Iterator[Any]:
    """Yield JSON values that follow each other: lines, or documents over several lines."""
    position = _after_blanks(text, 0)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError) as error:
            line = text.count("\n", 0, position) + 1
            raise InvalidRequest(f"it is not JSON from line {line} on: {error}") from None
        yield value
        position = _after_blanks(text, end)


def _after_blanks(text: str, position: int) -> int:
    blanks = _BLANK.match(text, position)
    return blanks.end() if blanks else position


def _flat(values: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for value in values:
        if isinstance(value, dict) and isinstance(value.get("events"), list):
            value = value["events"]  # noqa: PLW2901 - the document that holds them says no more
        for each in value if isinstance(value, list) else [value]:
            if not isinstance(each, dict) or not {"event", "workflow"} & each.keys():
                raise InvalidRequest(
                    "it has something that is neither an event nor a run",
                    hint="export it with: insula run events --json TENANT RUN",
                )
            yield each


def _as(kind: type[Any], value: dict[str, Any]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        name = "event" if kind is EventView else "run"
        raise InvalidRequest(f"it has what is no {name}: {error}") from None
