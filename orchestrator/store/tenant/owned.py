"""The one connection of a supervisor: in its tenant's engine role, fenced by its epoch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, TypeVar
from uuid import UUID

import anyio
import structlog
import tenacity

from orchestrator.model.clock import AnchoredClock
from orchestrator.model.errors import DatabaseUnavailable, LeaseLost, LockNotHad
from orchestrator.store.connect import DRIVER_ERRORS, Connection, translated
from orchestrator.store.tenant.fenced import Fenced
from orchestrator.store.tenant.journal import (
    Batch,
    Committed,
    Delivered,
    Journal,
    Key,
    Known,
    Sent,
)
from orchestrator.store.tenant.retention import OwnedRetention
from orchestrator.store.tenant.runs import (
    Claimed,
    Claims,
    Entries,
    Inherited,
    Outside,
    Pause,
    RunEnd,
    Signal,
)
from orchestrator.store.tenant.schedules import OwnedSchedules
from orchestrator.store.tenant.secrets import OwnedSecrets
from orchestrator.store.tenant.usage import OwnedUsage

T = TypeVar("T")
Act: TypeAlias = Callable[[Connection], Awaitable[T]]
log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 10.0
"""How long a lost connection is sought again before the supervisor gives up and is restarted."""

ANSWER_SECONDS = 30.0
"""A server that leaves a statement unanswered for so long is lost: frozen, or out of reach."""

CLOSE_SECONDS = 2.0

SESSION = {
    "search_path": "pg_catalog, pg_temp",
    # All runs of the tenant wait for the flush that waits, and an application may keep a
    # transaction open for as long as it likes.
    "lock_timeout": "1s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    # One plan for the connection's life, and always through the indexes: the tables are empty when
    # it is made, so statistics would choose scans that turn wrong as they grow.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Settings of the connection, given when it is opened: those of a role, the role may change."""


class OwnedConnection:
    """Runs the fenced statements of one tenant, one at a time.

    A connection that breaks, or does not answer within `answer_seconds`, is opened again and the
    statement sent again: all but a claim are safe to repeat. All methods raise DatabaseUnavailable
    or DatabaseRefused when no connection can be had, and LeaseLost when a newer owner has the
    tenant: writes and claims always, the others when they had to connect again.

    What somebody else has locked is waited for until they let go, as `held_up_since` tells, when
    `patient`: a new supervisor would find it locked as well, and would have cut off what runs. One
    that is not, as while others wait for its start, raises LockNotHad.
    """

    def __init__(
        self,
        tenant: str,
        journal: Journal,
        claims: Claims,
        connect: Callable[[], Awaitable[Connection]],
        *,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._tenant = tenant
        self.journal = journal
        self.claims = claims
        self._connect = connect
        self._answer_seconds = answer_seconds
        self._connection: Connection | None = None
        self._lock = anyio.Lock(fast_acquire=True)  # whoever has it waits for an answer
        self._under_way: anyio.CancelScope | None = None
        self.clock: AnchoredClock | None = None
        self.patient = False
        self._held_up: list[datetime] = []
        self._closing = anyio.Event()
        fenced = Fenced(self._run, self._ours, journal.schema, journal.epoch)
        self.schedules, self.retention = OwnedSchedules(fenced), OwnedRetention(fenced)
        self.usage = OwnedUsage(fenced)
        self.secrets = OwnedSecrets(self._run, schema=journal.schema)

    async def open(self) -> datetime:
        """Connect and raise the fence to our epoch; return the database's time."""
        self._connection = await self._connect()
        with self._translated():
            moment = await self.journal.take_over(self._connection)
        return self._ours(moment)

    async def close(self) -> None:
        """Close the connection for good, by force when it does not answer.

        A statement under way fails at once with DatabaseUnavailable: what became of it is not
        known.
        """
        self._closing.set()
        connection, self._connection = self._connection, None
        if self._under_way is not None:
            self._under_way.cancel()
            if connection is not None:
                connection.terminate()
        elif connection is not None:
            await end(connection)

    @property
    def held_up_since(self) -> datetime | None:
        """Since when a statement waits for what somebody else has locked; None when none does."""
        return min(self._held_up, default=None)

    async def flush(self, batch: Batch) -> Committed:
        """Commit a batch; what it tells of the database's time goes to `clock`.

        Raises LockNotHad, and nothing was written, for a batch that adds runs with keys: of those
        somebody may hold one.
        """

        def act(connection: Connection) -> Awaitable[Committed | None]:
            return self.journal.flush(connection, batch)

        asked = self._asked()
        try:
            answer = await self._sent(act)
        except LockNotHad as error:
            if batch.keyed:
                raise
            answer = await self._when_let(act, error)
        committed = self._ours(answer)
        self._told(committed.at, asked)
        return committed

    async def known(self, ids: Sequence[UUID], keys: Sequence[Key]) -> list[Known]:
        """Return the stored runs that hold one of these ids or keys."""
        return await self._run(lambda c: self.journal.known(c, ids, keys))

    async def claim(self, limit: int) -> list[Claimed]:
        """Take at most `limit` runs into memory: none when a newer owner has the tenant.

        A claim whose answer is lost is DatabaseUnavailable: sent again it would not find the runs
        that it took, which are ours already. The next owner finds them.
        """
        try:
            return await self._run(lambda c: self.claims.claim(c, limit), repeatable=False)
        except LockNotHad:
            raise
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(f"which runs were claimed is not known: {error}") from error

    async def claim_these(self, runs: Sequence[UUID]) -> list[Claimed]:
        """Take certain runs into memory, whatever their state."""
        found = await self._run(lambda c: self.claims.claim_these(c, runs))
        if len(found) < len(runs):  # not there, or not ours any more
            self._ours(await self._run(self.journal.confirm))
        return found

    async def peek(self, run: UUID) -> Claimed | None:
        """Return one run as it is, without taking it."""
        return await self._run(lambda c: self.claims.peek(c, run))

    async def outside(self, *, count_to: int = 0) -> Outside:
        """Return what waits outside memory, and park what nobody here can run."""
        return self._ours(await self._run(lambda c: self.claims.outside(c, count_to=count_to)))

    async def signals(self, runs: Sequence[UUID]) -> list[Signal]:
        """Return what was sent to `runs` and not taken yet."""
        return await self._run(lambda c: self.claims.signals(c, runs))

    async def ended(self, runs: Sequence[UUID]) -> list[RunEnd]:
        """Return how `runs` ended, of those that have."""
        return await self._run(lambda c: self.claims.ended(c, runs))

    async def send(self, signals: Sequence[Sent]) -> Delivered:
        """Leave signals, for the runs that can take one."""
        return self._ours(await self._run(lambda c: self.journal.send(c, signals)))

    async def set_pause(self, workflow: str, *, paused: bool, reason: str = "") -> None:
        """Let `workflow`, or with '' the whole tenant, start nothing for now, or again."""
        claims = self.claims
        if paused:
            self._ours(await self._run(lambda c: claims.pause(c, workflow, reason)))
        else:
            self._ours(await self._run(lambda c: claims.unpause(c, workflow)))

    async def pauses(self) -> list[Pause]:
        """Return what is paused."""
        return await self._run(self.claims.pauses)

    async def inherited(self, lately: timedelta) -> Inherited:
        """Return what a new owner has to know besides the runs that it claims."""
        return await self._run(lambda c: self.claims.inherited(c, lately))

    async def entries(self, runs: Sequence[UUID]) -> list[Entries]:
        """Return the journals of `runs`."""
        return await self._run(lambda c: self.claims.entries(c, runs))

    async def _run(self, act: Act[T], *, repeatable: bool = True) -> T:
        try:
            return await self._sent(act, repeatable=repeatable)
        except LockNotHad as error:
            return await self._when_let(act, error, repeatable=repeatable)

    async def _when_let(self, act: Act[T], error: LockNotHad, *, repeatable: bool = True) -> T:
        """Send a statement until nobody keeps it from what it needs, others in between."""
        if not self.patient:
            raise error
        log.warning("statement.held_up", error=str(error))
        since = datetime.now(UTC)
        self._held_up.append(since)
        try:
            async for attempt in tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(LockNotHad), sleep=self._pause, reraise=True
            ):
                with attempt:
                    return await self._sent(act, repeatable=repeatable)
            raise AssertionError("the last attempt returns or raises")
        finally:
            self._held_up.remove(since)

    async def _sent(self, act: Act[T], *, repeatable: bool = True) -> T:
        async with self._lock:
            try:
                return await self._once(act)
            except LockNotHad:
                raise
            except DatabaseUnavailable as error:
                if self._closing.is_set() or not repeatable:
                    raise
                log.warning("connection.lost", error=str(error))
            return await self._again(act)

    async def _again(self, act: Act[T]) -> T:
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._may_come_back),
            stop=tenacity.stop_after_delay(RECONNECT_SECONDS),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
            sleep=self._pause,
            reraise=True,
        ):
            with attempt:
                return await self._once(act)
        raise AssertionError("the last attempt returns or raises")

    def _may_come_back(self, error: BaseException) -> bool:
        return isinstance(error, DatabaseUnavailable) and not self._closing.is_set()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._closing.wait()

    async def _once(self, act: Act[T]) -> T:
        """Send one statement; whoever calls has the lock.

        One scope for all that may end it before its answer: its time, and `close`.
        """
        try:
            with self._translated():
                with anyio.move_on_after(self._answer_seconds) as self._under_way:
                    if not self._closing.is_set():
                        return await act(await self._live())
                raise TimeoutError(f"no answer in {self._answer_seconds:g} s")
        except LockNotHad:
            raise  # nothing was written, and the connection is as good as before
        except DatabaseUnavailable:
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            if self._closing.is_set():
                sentence = f"the journal of tenant {self._tenant!r} was closed before it answered"
                raise DatabaseUnavailable(sentence) from None
            raise
        finally:
            self._under_way = None

    async def _live(self) -> Connection:
        """Return a connection under which we are still the owner."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            asked = self._asked()
            self._told(self._ours(await self.journal.confirm(self._connection)), asked)
        return self._connection

    def _translated(self) -> AbstractContextManager[None]:
        return translated(f"the journal of tenant {self._tenant!r} can not be reached")

    def _asked(self) -> float:
        return 0.0 if self.clock is None else self.clock.monotonic()

    def _told(self, moment: datetime, asked: float) -> None:
        if self.clock is not None:
            self.clock.anchor(moment, asked=asked)

    def _ours(self, answer: T | None) -> T:
        if answer is None:
            raise LeaseLost(self._tenant, f"another owner has taken tenant {self._tenant!r}")
        return answer


async def end(connection: Connection) -> None:
    """Close a connection, by force when it does not answer; never raises for its sake."""
    with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(*DRIVER_ERRORS):
        await connection.close(timeout=CLOSE_SECONDS)
    if not connection.is_closed():
        connection.terminate()
