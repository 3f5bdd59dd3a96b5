"""Follows the events of one run to its end: what a text/event-stream is made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TypeVar
from uuid import UUID
from weakref import WeakSet

import anyio
import msgspec
import structlog
from litestar.datastructures import State
from litestar.response.sse import ServerSentEventMessage

from orchestrator.engine import entries
from orchestrator.http.services import Platform, Tokens
from orchestrator.model.api import EventView
from orchestrator.model.errors import InsulaError, InvalidRequest, Unavailable
from orchestrator.model.ids import TenantId
from orchestrator.model.tokens import Holder

T = TypeVar("T")
log = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
FOLLOWERS = 100
OF_ONE_TENANT = 25
"""Streams at a time, of all tenants and of one. Each looks into the database every second or so."""

FIRST_LOOK, SLOWEST_LOOK = 0.2, 1.0
"""Seconds between two looks for more: short after an event, then ever longer."""

LOOK_SECONDS = 1.0
"""How long a stream goes on after its token was revoked, as long as there is anything to tell."""

KEEP_ALIVE = 10.0
"""Seconds of silence after which a comment shows that both ends are there."""

_LAST = {
    kind.__struct_config__.tag
    for kind in (entries.RunSucceeded, entries.RunFailed, entries.RunCancelled, entries.RunDied)
}


class Follower:
    """One stream; it ends when the run has finished, when the server does, or when a look fails.

    Each look begins with the event that was seen last: it tells whether the run has finished, also
    to one who comes back and has seen everything. A caller that was cut off asks again from there.
    """

    def __init__(
        self, platform: Platform, tenant: TenantId, run: UUID, after: int, state: State
    ) -> None:
        self._platform = platform
        self.tenant = tenant
        self._run = run
        self._seen = after
        self._closing: anyio.Event = state.closing
        self._followers: WeakSet[Follower] = state.followers
        self._pending: list[EventView] = []
        self._finished = False

    async def begin(self) -> bool:
        """Take the first look; False when there is nothing to follow any more.

        Raises RunNotFound, InvalidRequest when the run has no such event, and Unavailable when
        there are too many followers.
        """
        self._take_place()
        before = self._seen
        found = await self._look()
        if before >= 0 and not found:
            raise InvalidRequest(f"run {self._run} has no event {before}")
        return bool(self._pending) or not self._finished

    async def events(self) -> AsyncGenerator[EventView | None]:
        """Yield event after event; None stands for a silence."""
        try:
            quiet, pause = 0.0, FIRST_LOOK
            while not self._closing.is_set():
                pending, self._pending = self._pending, []
                for event in pending:
                    yield event
                if pending:
                    quiet, pause = 0.0, FIRST_LOOK
                elif self._finished:
                    return
                elif quiet >= KEEP_ALIVE:
                    yield None
                    quiet = 0.0
                with anyio.move_on_after(0 if self._finished else pause):
                    await self._closing.wait()
                quiet, pause = quiet + pause, min(pause * 1.5, SLOWEST_LOOK)
                await self._look()
        except InsulaError as error:
            # The answer has begun, so the caller hears of it when it asks again.
            log.warning("events.cut_off", run=str(self._run), error=str(error))
        finally:
            self._followers.discard(self)

    def _take_place(self) -> None:
        """Take a place before the first look: it is free again when nobody has this any more."""
        own = sum(each.tenant == self.tenant for each in self._followers)
        if len(self._followers) >= FOLLOWERS or own >= OF_ONE_TENANT:
            whose = "this tenant" if own >= OF_ONE_TENANT else "all tenants"
            raise Unavailable(
                f"as many runs of {whose} are followed already as may be at a time",
                hint="ask for the list with `Accept: application/json` meanwhile",
                retry_after=5.0,
            )
        self._followers.add(self)

    async def _look(self) -> bool:
        # Only the pause is cut short, never a look: that one is a query of the tenant's.
        with anyio.CancelScope(shield=True):
            found = await self._platform.read_events(
                self.tenant, self._run, max(self._seen - 1, -1)
            )
        self._pending = [event for event in found if event.number > self._seen]
        if found:
            self._seen = max(self._seen, found[-1].number)
            self._finished = found[-1].event.get("event") in _LAST
        return bool(found)


async def while_valid(
    parts: AsyncGenerator[T],
    tokens: Tokens,
    holder: Holder,
    *,
    end: Callable[[], None] = lambda: None,
) -> AsyncGenerator[T]:
    """Yield parts as long as the token is valid that opened the stream; looked up as they go.

    When it is not any more, that `end`s it.
    """
    async with aclosing(parts):
        looked = anyio.current_time()
        async for part in parts:
            now = anyio.current_time()
            if now - looked >= LOOK_SECONDS:
                looked = now
                if not await _is_valid(tokens, holder):
                    end()
                    return
            yield part


async def _is_valid(tokens: Tokens, holder: Holder) -> bool:
    try:
        return await tokens.is_live(holder)
    except InsulaError as error:  # as above: who asks again hears of it
        log.warning("stream.cut_off", token=holder.token, error=str(error))
        return False


async def as_messages(
    events: AsyncIterator[EventView | None],
) -> AsyncIterator[ServerSentEventMessage]:
    """Yield events as the messages of a text/event-stream."""
    async for event in events:
        if event is None:
            yield ServerSentEventMessage(data=None, comment="still here")
        else:
            yield ServerSentEventMessage(
                id=event.number,
                event=str(event.event.get("event", "event")),
                data=msgspec.json.encode(event),
            )
