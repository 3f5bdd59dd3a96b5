"""What runs carry, sealed in the tables of a tenant that wants it.

A sealed value stands in its column as a JSON text, `insula:sealed:KEY:BASE64`; an error keeps its
type beside it, by which errors are counted. What is searched for stays plain: state, workflow, key
and tags.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from orchestrator.model.errors import SecretUnreadable
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.database import Lent, TenantDatabase
from orchestrator.store.tenant.journal import (
    Batch,
    ChangedRun,
    Committed,
    Completion,
    Delivered,
    Journal,
    Logged,
    NewRun,
    Sent,
)
from orchestrator.store.tenant.login import Way
from orchestrator.store.tenant.runs import (
    Claimed,
    Claims,
    Entries,
    Moment,
    RunEnd,
    Served,
    Signal,
    Stored,
)
from orchestrator.store.tenant.sealing import DataKey, WrappedKey, WrappingKeys
from orchestrator.store.tenant.secrets import RingKey

_QUERIES = sql.load(__name__)
SEAL_INPUTS = _QUERIES["seal_inputs"]

_MARK = '"insula:sealed:'
_SEALED = re.compile(f"{_MARK}[0-9a-f]{{32}}:")
_ERROR = '{"sealed":'

R = TypeVar("R", Claimed, RunEnd, Stored)


class SealedError(msgspec.Struct, frozen=True):
    """The error of a run: its type can be searched for, the rest is sealed."""

    sealed: str
    type: str


class _Typed(msgspec.Struct, frozen=True):
    type: str = ""


class Payloads:
    """Seals and opens the payloads of one tenant, each bound to its run and its place there."""

    def __init__(
        self,
        keys: Iterable[DataKey],
        seals_with: DataKey | None,
        closed: Mapping[str, SecretUnreadable] = MappingProxyType({}),
    ) -> None:
        self._keys = {key.id.hex: key for key in keys}
        self._seals_with = seals_with
        self._closed = closed

    @property
    def seals(self) -> bool:
        """False when what is written from now on stays plain."""
        return self._seals_with is not None

    def seal(self, text: str, run: UUID, place: str) -> str:
        """Return JSON as it is to be stored."""
        key = self._seals_with
        if key is None:  # the same text, spelt so that it does not look sealed
            return f'"\\u0069{text[2:]}' if text.startswith(_MARK) else text
        sealed = base64.b64encode(key.seal(text.encode(), _bound_to(run, place))).decode()
        return f'{_MARK}{key.id.hex}:{sealed}"'

    def seal_error(self, text: str, run: UUID) -> str:
        """Return an error as it is to be stored: with its type."""
        if not self.seals:
            return text
        sealed = self.seal(text, run, "error")[1:-1]
        kind = msgspec.json.decode(text, type=_Typed).type
        return msgspec.json.encode(SealedError(sealed, kind)).decode()

    def open(self, text: str, run: UUID, place: str) -> str:
        """Return JSON as it was; SecretUnreadable when it can not be opened."""
        if _SEALED.match(text) is None:
            return text  # written before payloads were sealed
        name, _, sealed = text[len(_MARK) : -1].partition(":")
        key = self._keys.get(name)
        if name in self._closed:
            raise self._closed[name].with_traceback(None)
        if key is None:
            raise SecretUnreadable(
                f"the payload of run {run} is sealed with a key that is not here"
            )
        return key.open(_decoded(sealed), _bound_to(run, place)).decode()

    def open_error(self, text: str, run: UUID) -> str:
        """Return an error as it was."""
        if not text.startswith(_ERROR):
            return text
        stored = msgspec.json.decode(text, type=SealedError)
        return self.open(f'"{stored.sealed}"', run, "error")

    def opened(self, row: R) -> R:
        """Return a row of a run with its payloads as they were."""
        names = COLUMNS.intersection(row.__struct_fields__)
        return replace(row, **{n: self.open_column(n, getattr(row, n), row.id) for n in names})

    def open_column(self, name: str, text: str | None, run: UUID) -> str | None:
        """Return a column of a run's row as it was."""
        if text is None:
            return None
        return self.open_error(text, run) if name == "error" else self.open(text, run, name)

    def opened_history(self, run: UUID, history: Iterable[Moment]) -> list[Moment]:
        """Return the journal of a run as it was."""
        return [
            replace(each, entries=self.open(each.entries, run, f"entries {each.seq}"))
            for each in history
        ]

    def sealed_batch(self, batch: Batch) -> Batch:
        """Return what a flush is to write."""
        return replace(
            batch,
            added=[self._added(run) for run in batch.added],
            changed=[self._changed(run) for run in batch.changed],
            logged=[self._logged(row) for row in batch.logged],
        )

    def _added(self, run: NewRun) -> NewRun:
        return replace(run, input=self.seal(run.input, run.id, "input"))

    def _changed(self, run: ChangedRun) -> ChangedRun:
        return replace(
            run,
            output=None if run.output is None else self.seal(run.output, run.id, "output"),
            context=None if run.context is None else self.seal(run.context, run.id, "context"),
            error=None if run.error is None else self.seal_error(run.error, run.id),
        )

    def _logged(self, row: Logged) -> Logged:
        return replace(row, entries=self.seal(row.entries, row.run_id, f"entries {row.seq}"))


COLUMNS = frozenset({"input", "output", "context", "error"})
"""Of a run's row."""


def payloads(stored: Sequence[RingKey], keys: WrappingKeys, *, seal: bool) -> Payloads:
    """Return what opens a tenant's payloads and, if wanted, seals them with its current key.

    What is sealed with a key that can not be opened says so when it is asked for.
    """
    current: DataKey | None = None
    opened: list[DataKey] = []
    closed: dict[str, SecretUnreadable] = {}
    for each in stored:
        if not each.payloads:
            continue
        try:
            key = DataKey.unwrap(WrappedKey(each.id, each.wrapped, each.wrapped_by), keys)
        except SecretUnreadable as error:
            if seal and each.current:
                raise
            closed[each.id.hex] = error
        else:
            opened.append(key)
            current = key if each.current else current
    return Payloads(opened, current if seal else None, closed)


class SealedJournal(Journal):
    """Writes sealed what runs carry."""

    def __init__(self, journal: Journal, payloads: Payloads) -> None:
        super().__init__(journal.schema, epoch=journal.epoch, node=journal.fence.node)
        self.fence = journal.fence  # it was raised already
        self._payloads = payloads

    async def flush(self, connection: Connection, batch: Batch) -> Committed | None:
        """Commit `batch`, sealed."""
        return await super().flush(connection, self._payloads.sealed_batch(batch))

    async def send(self, connection: Connection, signals: Sequence[Sent]) -> Delivered | None:
        """Leave signals, sealed."""
        sealed = [replace(each, payload=self._sealed(each)) for each in signals]
        return await super().send(connection, sealed)

    def _sealed(self, signal: Sent) -> str:
        return self._payloads.seal(signal.payload, signal.run_id, f"signal {signal.id}")


class SealedClaims(Claims):
    """Takes runs into memory, opened; what came in past the daemon is sealed then."""

    def __init__(self, journal: Journal, payloads: Payloads, served: Callable[[], Served]) -> None:
        super().__init__(journal.schema, epoch=journal.epoch, served=served)
        self._payloads = payloads
        self._seal_inputs = sql.bind(SEAL_INPUTS, journal.schema)

    async def claim(self, connection: Connection, limit: int) -> list[Claimed]:
        """Take at most `limit` runs that no living owner holds, most urgent first."""
        return await self._taken(connection, await super().claim(connection, limit))

    async def claim_these(self, connection: Connection, runs: Sequence[UUID]) -> list[Claimed]:
        """Take certain runs, whatever their state."""
        return await self._taken(connection, await super().claim_these(connection, runs))

    async def peek(self, connection: Connection, run: UUID) -> Claimed | None:
        """Return one run as it is, without taking it."""
        found = await super().peek(connection, run)
        return None if found is None else self._payloads.opened(found)

    async def signals(self, connection: Connection, runs: Sequence[UUID]) -> list[Signal]:
        """Return what was sent to `runs` and not taken yet."""
        found = await super().signals(connection, runs)
        return [
            replace(
                each, payload=self._payloads.open(each.payload, each.run_id, f"signal {each.id}")
            )
            for each in found
        ]

    async def ended(self, connection: Connection, runs: Sequence[UUID]) -> list[RunEnd]:
        """Return how `runs` ended, of those that have."""
        return [self._payloads.opened(each) for each in await super().ended(connection, runs)]

    async def entries(self, connection: Connection, runs: Sequence[UUID]) -> list[Entries]:
        """Return the journals of `runs`."""
        found = await super().entries(connection, runs)
        return [
            replace(
                each, entries=self._payloads.open(each.entries, each.run_id, f"entries {each.seq}")
            )
            for each in found
        ]

    async def _taken(self, connection: Connection, runs: list[Claimed]) -> list[Claimed]:
        if self._payloads.seals and (plain := [r for r in runs if not r.input.startswith(_MARK)]):
            inputs = [self._payloads.seal(run.input, run.id, "input") for run in plain]
            ids = [run.id for run in plain]
            await connection.execute(self._seal_inputs, self._epoch, ids, inputs)
        return [self._payloads.opened(run) for run in runs]


class SealedDatabase(TenantDatabase):
    """SQL for tasks; what a transactional one writes into the journal is sealed."""

    def __init__(self, payloads: Payloads, way: Way, **how: Any) -> None:
        super().__init__(way, **how)
        self._payloads = payloads

    async def complete(self, lent: Lent, completion: Completion) -> None:
        """Commit a transaction together with the journal's entries, sealed."""
        place = f"entries {completion.seq}"
        sealed = self._payloads.seal(completion.entries, completion.run, place)
        await super().complete(lent, replace(completion, entries=sealed))


def _decoded(sealed: str) -> bytes:
    """Return the bytes of a sealed value; what is no base64 was changed, and no key opens it."""
    try:
        return base64.b64decode(sealed, validate=True)
    except ValueError:
        return b""


def _bound_to(run: UUID, place: str) -> bytes:
    return b"payload" + run.bytes + place.encode()
