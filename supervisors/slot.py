"""What the root keeps of a tenant at all times: a dormant tenant is nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from orchestrator.engine.engine import Engine
from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import (
    DatabaseUnavailable,
    InsulaError,
    TenantBusy,
)
from orchestrator.settings.tenants import TenantConfig
from supervisors.decide import Record
from supervisors.messages import Message, Stop
from supervisors.patience import Turn
from supervisors.refusals import quarantined, removed, shutting_down, suspended


class SlotState(StrEnum):
    """Where a tenant stands.

    All but the first, and QUARANTINED, SUSPENDED and GONE, have one runner task.
    """

    DORMANT = "dormant"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    SUSPENDED = "suspended"
    GONE = "gone"


AT_REST = frozenset({SlotState.DORMANT, SlotState.QUARANTINED, SlotState.SUSPENDED, SlotState.GONE})


class Attendant(Protocol):
    """Who wants to know which tenants work."""

    def used(self, slot: Slot) -> None: ...
    def idle(self, slot: Slot) -> None: ...


class Slot:
    """One tenant's place.

    The mailbox belongs to the slot, so mail outlives the supervisor that crashed.
    """

    def __init__(self, config: TenantConfig, *, mailbox: int) -> None:
        send: MemoryObjectSendStream[Message]
        receive: MemoryObjectReceiveStream[Message]
        send, receive = anyio.create_memory_object_stream[Message](mailbox)
        self._send = send
        self._attention = Pulse()

        # What it is, and who hears of it.
        self.config = config
        self.note: Callable[[Slot], None] = lambda _: None  # of each change of state
        self.attendant: Attendant | None = None  # of work, and of rest

        # What is asked of its supervisor.
        self.receive = receive
        self.poked = False  # there is work in its tables
        self.stop_wanted: Stop | None = None
        self.sealed = False  # the node drains: nothing more is taken
        self.removed = False  # no file declares it any more

        # Where it stands. Times are monotonic seconds.
        self._state = SlotState.DORMANT if config.works else SlotState.SUSPENDED
        self.waits_for_place = False
        self.turn = Turn()
        self.incarnation = 0  # how many supervisors it has had
        self.life: anyio.CancelScope | None = None  # of the present one
        self.engine: Engine | None = None  # while that serves
        self.epoch: int | None = None  # of the newest lease
        self.held: int | None = None  # of the lease that the node has still
        self.awake_since = math.inf
        self.last_active = -math.inf

        # What became of it, and what follows.
        self.record = Record()
        self.last_error: str | None = None
        self.retry_at: datetime | None = None
        self.doubted: tuple[int, ...] | None = None  # last words of servers that are to say more

    @property
    def state(self) -> SlotState:
        """Where the tenant stands; whoever sets it has set the reason and the time before."""
        return self._state

    @state.setter
    def state(self, state: SlotState) -> None:
        if state is not self._state:
            self._state = state
            self.note(self)

    def post(self, message: Message, now: datetime) -> None:
        """Put mail into the box at `now`, or raise why not.

        Never waits: one full tenant must not hold up the rest.
        """
        self.check_open(now)
        try:
            self._send.send_nowait(message)
        except anyio.WouldBlock:
            raise TenantBusy(
                f"the mailbox of tenant {self.config.id!r} is full",
                hint="try again in a moment",
                retry_after=1.0,
            ) from None
        self._attention.beat()

    def check_open(self, now: datetime) -> None:
        """Raise why the tenant takes no work at `now`, if it takes none."""
        if self.sealed:
            raise shutting_down()
        match self.state:
            case _ if self.removed:
                raise removed(self.config.id)
            case SlotState.SUSPENDED:
                raise suspended(self.config)
            case SlotState.QUARANTINED:
                left = self._until_probe(now)
                raise quarantined(self.config.id, self.last_error, retry_after=left)
            case SlotState.BACKOFF if self.doubted is not None:
                raise DatabaseUnavailable(
                    f"tenant {self.config.id!r} can not be served now: {self.last_error}",
                    hint="nothing was stored; `insula status` tells how the database is",
                    retry_after=max(1.0, self.record.last_delay),
                )
            case _:
                if not self.config.works:
                    raise suspended(self.config)

    def _until_probe(self, now: datetime) -> float:
        """Return the seconds that are left; a probe that is due comes with the next look."""
        left = self.retry_at - now if self.retry_at is not None else timedelta()
        return max(1.0, left.total_seconds())

    def reconfigure(self, config: TenantConfig) -> None:
        """Take over a changed configuration, also in the middle of a life."""
        self.config = config
        if self.engine is not None:
            self.engine.reconfigured()
        self._attention.beat()

    def forget(self) -> None:
        """Forget what became of a former tenant: another one is called so by now."""
        self.refuse_mail(removed(self.config.id))
        self.record = Record()
        self.last_error = self.retry_at = self.epoch = None

    @property
    def has_mail(self) -> bool:
        """True while anything waits to be handled."""
        return self.poked or self._send.statistics().current_buffer_used > 0

    def refuse_mail(self, error: InsulaError) -> None:
        """Answer everything in the box with `error`; in one that is closed there is nothing."""
        while True:
            try:
                message = self.receive.receive_nowait()
            except (anyio.WouldBlock, anyio.ClosedResourceError):
                return
            message.reply.fail(error)

    def ask_to_stop(self, why: Stop) -> None:
        """Ask the supervisor to end; a stronger reason replaces a weaker one."""
        if self.stop_wanted is None or _STRENGTH[why] > _STRENGTH[self.stop_wanted]:
            self.stop_wanted = why
        self._attention.beat()

    def poke(self) -> None:
        """Tell the supervisor that work came from outside; many pokes are one."""
        self.poked = True
        self._attention.beat()

    def use(self, now: float) -> None:
        """Note that the tenant works at `now`, in monotonic seconds."""
        self.last_active = now
        if self.attendant is not None:
            self.attendant.used(self)

    def rest(self) -> None:
        """Note that the tenant has nothing to do."""
        if self.attendant is not None:
            self.attendant.idle(self)

    def look(self) -> None:
        """Have the supervisor look around: something changed that it may wait for."""
        self._attention.beat()

    async def attention(self) -> None:
        """Return when something is wanted."""
        await self._attention.wait()

    def close(self) -> None:
        """Close the mailbox for good."""
        self._send.close()
        self.receive.close()


_ENDS = (
    SlotState.DORMANT,
    SlotState.BACKOFF,
    SlotState.QUARANTINED,
    SlotState.SUSPENDED,
    SlotState.GONE,
)
MOVES: dict[SlotState, frozenset[SlotState]] = {
    SlotState.DORMANT: frozenset({SlotState.STARTING, SlotState.SUSPENDED, SlotState.GONE}),
    SlotState.STARTING: frozenset({SlotState.RUNNING, *_ENDS}),
    SlotState.RUNNING: frozenset({SlotState.DRAINING, SlotState.STARTING, *_ENDS}),
    SlotState.DRAINING: frozenset({SlotState.STARTING, *_ENDS}),
    SlotState.BACKOFF: frozenset({SlotState.STARTING}),
    SlotState.QUARANTINED: frozenset({SlotState.STARTING, SlotState.SUSPENDED, SlotState.GONE}),
    SlotState.SUSPENDED: frozenset({SlotState.DORMANT, SlotState.GONE}),
    SlotState.GONE: frozenset(),
}
"""From where to where a tenant may go; docs/explanation/state-machines.md draws it."""

_STRENGTH = {why: strength for strength, why in enumerate(Stop)}
"""In the order of their declaration."""
