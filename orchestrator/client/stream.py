"""Takes a text/event-stream of the API apart, in whatever pieces it comes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.model.api import EventView
from orchestrator.model.errors import InsulaError

FINISHED = 204
"""The status that tells a follower: the run has finished, and you have seen all of it."""

PAUSE = 0.5
"""Seconds before a stream that ended without any event is asked for again."""


class EventReader:
    """Holds the line that is not complete yet. A message of the API has its data on one line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[EventView]:
        """Yield the events that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b": ")
            if name == b"data":
                yield _event(value)


def _event(text: bytes) -> EventView:
    try:
        return msgspec.json.decode(text, type=EventView)
    except msgspec.DecodeError as error:
        raise InsulaError(
            f"an event can not be understood: {error}",
            hint="client and daemon should be of one version",
        ) from error
