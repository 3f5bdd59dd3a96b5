"""SQL for tasks.

A few connections logged in as the tenant's application role, opened when first used.
"""

from __future__ import annotations

from typing import get_args
from uuid import UUID, uuid4

import anyio
import asyncpg
import msgspec
import tenacity

from orchestrator.model.errors import DatabaseUnavailable, LeaseLost
from orchestrator.model.ids import quote_identifier
from orchestrator.store import sql
from orchestrator.store.connect import DRIVER_ERRORS, Connection, classify, translated
from orchestrator.store.tenant.fence import ENDED, MOVED, Fence
from orchestrator.store.tenant.journal import Completion
from orchestrator.store.tenant.login import Login, Way
from orchestrator.store.tenant.places import NESTED_PLACES, TASK_PLACES, Place, Places
from orchestrator.workflow.context import Isolation

BEGIN = "SELECT tenant.wf_owned({epoch}), set_config('insula.mark', '{mark}', true)"
COMPLETE = "SELECT tenant.wf_complete($1, $2, $3, $4, $5, $6, $7, $8)"
COMPLETED = "SELECT tenant.wf_completed($1, $2, $3, $4)"
COMMIT = "SELECT tenant.wf_owned({epoch}); COMMIT"
FORGET = """
    RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP;
"""
"""Takes back what a task may have set, opened, locked or made for its session; one round trip."""

PATIENCE_SECONDS = 60.0
"""How long a task waits for a place, and then for a connection, unless its timeout is sooner."""

COMMIT_SECONDS = 10.0
ROLLBACK_SECONDS = 2.0
CLOSE_SECONDS = 2.0


class NestedTooDeep(Exception):
    """A task opened a transaction within a transaction within a transaction."""


class TransactionEnded(Exception):
    """SQL of a transactional task has ended its transaction: COMMIT or ROLLBACK."""


class Lent:
    """A connection in a transaction, with the places that it holds."""

    def __init__(
        self, database: TenantDatabase, connection: Connection, mark: str, places: list[Place]
    ) -> None:
        self._database = database
        self._places = places
        self.connection = connection
        self.mark = mark
        self.over = False
        self.nested = False

    async def commit(self) -> None:
        """Commit if we are the owner still; LeaseLost, and nothing is written, when not."""
        await self._database.commit(self.connection)

    async def roll_back(self) -> None:
        """Roll back even while we are being cancelled; a connection that hangs is cut."""
        with anyio.move_on_after(ROLLBACK_SECONDS, shield=True) as deadline:
            try:
                await self.connection.execute("ROLLBACK")
            except DRIVER_ERRORS:
                self.connection.terminate()
        if deadline.cancelled_caught:
            self.connection.terminate()

    async def end(self) -> None:
        """Hand the connection on, if nothing is left in it, and give the places back."""
        kept = False
        try:
            kept = await self._database.keep(self.connection)
        finally:
            if not kept:
                self.connection.terminate()
            self._let_go()

    def cut(self) -> None:
        """Close the connection whatever it does, and give the places back."""
        self.connection.terminate()
        self._let_go()

    def _let_go(self) -> None:
        self.over = True
        for place in self._places:
            place.give_back()


class TenantDatabase:
    """The connections of one tenant's tasks: one for each transaction, and one kept for the next.

    `places` bounds those in use over all tenants of the node, and the limit of the tenant's role
    those of the tenant. Whoever has a transaction open and asks for another takes neither kind:
    tasks that hold one place each and wait for another would wait for ever. It takes one of a few
    places of its own, and goes no deeper, so that who holds one of those never waits for any.

    Every transaction is the owner's: it begins only if `fence` has not moved, and so it commits.
    """

    def __init__(
        self,
        way: Way,
        *,
        application_name: str,
        places: Places,
        fence: Fence,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        settings = {
            "search_path": f"{quote_identifier(fence.schema)}, pg_temp",
            "lock_timeout": "60s",
            "statement_timeout": "5min",
            "idle_in_transaction_session_timeout": "60s",
            # A statement whose connection was cut ends soon, and with it its transaction's locks.
            "client_connection_check_interval": "1s",
        }
        self._login = Login(way, application_name=application_name, settings=settings)
        self._node_places = places
        self._places = Places(TASK_PLACES, what="connections for tasks of the tenant")
        self._nested = Places(NESTED_PLACES, what="nested transactions of the tenant's tasks")
        self._patience = patience
        self._idle: Connection | None = None
        self._begin_text = sql.bind(BEGIN, fence.schema)
        self._complete_text = sql.bind(COMPLETE, fence.schema)
        self._completed_text = sql.bind(COMPLETED, fence.schema)
        self._commit_text = sql.bind(COMMIT, fence.schema).format(epoch=fence.epoch)
        self.fence = fence

    async def lend(
        self, holder: str, *, isolation: Isolation = "read committed", within: Lent | None = None
    ) -> Lent:
        """Return a connection in a new transaction, `within` another one of the same task.

        DatabaseUnavailable when there was none to be had in time, LeaseLost when a newer owner has
        the tenant.
        """
        places = await self._take_places(holder, within)
        try:
            mark = uuid4().hex
            connection = await self._begin(isolation, mark)
        except BaseException:
            for place in places:
                place.give_back()
            raise
        lent = Lent(self, connection, mark, places)
        lent.nested = within is not None
        return lent

    async def close(self) -> None:
        """Close the connection that nobody uses."""
        connection, self._idle = self._idle, None
        if connection is None:
            return
        with anyio.move_on_after(CLOSE_SECONDS, shield=True) as deadline:
            await connection.close(timeout=CLOSE_SECONDS)
        if deadline.cancelled_caught:
            connection.terminate()

    async def _take_places(self, holder: str, within: Lent | None) -> list[Place]:
        if within is not None:
            if within.nested:
                raise NestedTooDeep("a transaction within a transaction holds no third one")
            return [await self._nested.take(holder, seconds=self._patience)]
        place = await self._places.take(holder, seconds=self._patience)
        try:
            return [place, await self._node_places.take(holder, seconds=self._patience)]
        except BaseException:
            place.give_back()
            raise

    async def commit(self, connection: Connection) -> None:
        """Commit what `connection` has begun; LeaseLost when a newer owner has the tenant."""
        try:
            await connection.execute(self._commit_text)
        except asyncpg.PostgresError as error:
            self._check_moved(error)
            raise

    async def complete(self, lent: Lent, completion: Completion) -> None:
        """Commit a transaction together with the journal's entries that say so.

        Raises what the database refuses, and then nothing was written, LeaseLost when a newer owner
        has the tenant, and DatabaseUnavailable when it can not be learned how it came out.
        """
        fence, connection = self.fence, lent.connection
        try:
            await connection.execute(
                self._complete_text,
                fence.epoch,
                fence.seal,
                fence.node,
                lent.mark,
                *msgspec.structs.astuple(completion),
            )
        except asyncpg.PostgresError as error:
            self._check_moved(error)
            if error.sqlstate == ENDED:
                raise TransactionEnded(
                    "SQL of the task has ended its transaction; leave COMMIT and ROLLBACK to it"
                ) from error
            raise
        try:
            await connection.execute("COMMIT", timeout=COMMIT_SECONDS)
        except DRIVER_ERRORS as error:
            if isinstance(error, asyncpg.PostgresError) and classify(error) is None:
                raise  # answered, with a refusal
            lent.cut()
            if not await self._completed(completion.run, completion.seq):
                raise

    async def _completed(self, run: UUID, seq: int) -> bool:
        """Tell whether a commit took place whose answer was lost; waits for one that still may."""
        asked = await self.lend(f"the question how run {run} came out")
        fence = self.fence
        try:
            with translated("whether a task's transaction has committed is not known"):
                answer = await asked.connection.fetchval(
                    self._completed_text, fence.epoch, fence.seal, run, seq
                )
        except asyncpg.PostgresError as error:
            self._check_moved(error)
            raise DatabaseUnavailable(
                f"whether a task's transaction has committed is not known: {error}"
            ) from error
        finally:
            asked.cut()
        return bool(answer)

    async def keep(self, connection: Connection) -> bool:
        """Keep one connection for the next task, without anything that the last one left in it."""
        if self._idle or connection.is_closed() or connection.is_in_transaction():
            return False
        with anyio.move_on_after(ROLLBACK_SECONDS, shield=True):
            try:
                await connection.execute(FORGET)
            except DRIVER_ERRORS:
                return False
            if self._idle is None:
                self._idle = connection
                return True
        return False

    def _reuse(self) -> Connection | None:
        connection, self._idle = self._idle, None
        return None if connection is None or connection.is_closed() else connection

    async def _begin(self, isolation: Isolation, mark: str) -> Connection:
        """Try until there is a connection: the server may be full, or on its way back."""
        if isolation not in get_args(Isolation):
            raise ValueError(f"isolation is one of {', '.join(get_args(Isolation))}")
        # One message, so the question costs no round trip of its own.
        text = self._begin_text.format(epoch=self.fence.epoch, mark=mark)
        text = f"BEGIN ISOLATION LEVEL {isolation}; {text}"
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(DatabaseUnavailable),
            stop=tenacity.stop_after_delay(self._patience),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=2.0),
            sleep=anyio.sleep,
            reraise=True,
        ):
            with attempt:
                return await self._begin_once(text)
        raise AssertionError("the last attempt returns or raises")

    async def _begin_once(self, text: str) -> Connection:
        connection = self._reuse() or await self._login.connect()
        try:
            with translated("the database does not answer a task"):
                await connection.execute(text)
        except BaseException as error:
            # Nothing of the task's was sent yet, so a kept connection that has died is no matter.
            connection.terminate()
            self._check_moved(error)
            raise
        return connection

    def _check_moved(self, error: BaseException) -> None:
        if getattr(error, "sqlstate", None) == MOVED:
            raise LeaseLost(
                self.fence.tenant, f"another owner has taken tenant {self.fence.tenant!r}"
            ) from error
