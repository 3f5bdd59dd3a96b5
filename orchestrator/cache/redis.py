"""The caches of tenants on a server of Redis or Valkey, one connection pool for all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from orchestrator.cache import scripts
from orchestrator.cache.names import fits, literal, within
from orchestrator.model.errors import CacheUnavailable
from orchestrator.workflow.cache import NotANumber
from orchestrator.workflow.durable import OtherLoop

ANSWER_SECONDS = 5.0
"""How long one call may take; a cache that is slower is of no use."""

CONNECTIONS = 32
"""Of one node, for all its tenants; each is in use for as long as one call takes."""

KEPT = timedelta(days=400)
"""How long anything is kept at most: longer than any time to live, so that nothing stays for ever
of a tenant that is gone."""

_AT_ONCE = 500

T = TypeVar("T")


class RedisServer:
    """A server, connected to when it is first used; what is ours there begins with `owner`."""

    def __init__(self, url: str, owner: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            decode_responses=True,
            protocol=2,
            # What was sent before a connection broke may have been done: to count is not to be
            # repeated without the caller's knowledge.
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis(connection_pool=pool)
        self._owner = owner
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        with anyio.CancelScope(shield=True):
            await self._redis.connection_pool.disconnect()

    def store(self, *names: str) -> RedisStore:
        """Return the store that has these names; no other list of as many names has its keys."""
        place = ""
        for name in (self._owner, *names):
            place = within(place, name)
        return RedisStore(self, f"insula:{place}")

    async def run(self, act: Callable[[Redis], Awaitable[T]]) -> T:
        """Call `act`; CacheUnavailable when the server does not answer, or not as it should."""
        if asyncio.get_running_loop() is not self._loop:
            raise OtherLoop("ctx.cache")
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                return await act(self._redis)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            reason = str(error) or f"no answer in {ANSWER_SECONDS:g} s"
            raise CacheUnavailable(f"the cache server does not answer: {reason}") from error


class RedisStore:
    """Keeps the cache of one tenant; implements `orchestrator.cache.store.Store`."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self._server = server
        self._index = f"{prefix}i"
        self._values = f"{prefix}v"

    async def read(self, space: str, keys: Sequence[str], /) -> dict[str, str]:
        """Return the values of those keys that are there."""
        found = await self._do(scripts.READ, *(_place(space, key) for key in keys))
        pairs = zip(keys, found, strict=True)
        return {key: value for key, value in pairs if value is not None}

    async def write(self, space: str, values: Mapping[str, str], ttl: timedelta | None, /) -> None:
        """Put values in the place of those that are there."""
        pairs = [part for key in sorted(values) for part in (_place(space, key), values[key])]
        await self._do(scripts.WRITE, *_times(ttl), *pairs)

    async def write_if_absent(
        self, space: str, key: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value where there is none."""
        given = (*_times(ttl), _place(space, key), value)
        return bool(await self._do(scripts.WRITE_IF_ABSENT, *given))

    async def swap(
        self, space: str, key: str, expected: str, value: str, ttl: timedelta | None, /
    ) -> bool:
        """Put a value in the place of `expected`."""
        given = (*_times(ttl), _place(space, key), expected, value)
        return bool(await self._do(scripts.SWAP, *given))

    async def add(self, space: str, key: str, by: int, ttl: timedelta | None, /) -> int:
        """Add to a counter, which begins at 0, and return it; NotANumber."""
        count = await self._do(scripts.ADD, *_times(ttl), _place(space, key), f"{by:d}")
        if count is None:
            raise NotANumber(key)
        return int(count)

    async def remove(self, space: str, keys: Sequence[str], /) -> int:
        """Delete keys; return how many were there."""
        return int(await self._do(scripts.REMOVE, *(_place(space, key) for key in keys)))

    async def keys(self, space: str, like: str, limit: int, /) -> list[str]:
        """Return the keys that fit a LIKE pattern, by name, at most `limit`."""
        start = _place(space, "")
        pattern = f"{_plain(start + literal(like))}*"

        async def scan(redis: Redis) -> set[str]:
            return {place async for place, _ in redis.zscan_iter(self._index, pattern, 1000)}

        keys = [place.removeprefix(start) for place in await self._server.run(scan)]
        fitting = sorted(key for key in keys if fits(like, key))
        found: list[str] = []
        for at in range(0, len(fitting), _AT_ONCE):
            found += await self._there(space, fitting[at : at + _AT_ONCE])
            if len(found) >= limit:
                break
        return found[:limit]

    async def clear(self, space: str, /) -> int:
        """Delete all of a namespace and of those within it; return how many there were."""
        return int(await self._do(scripts.CLEAR, space))

    async def size(self, space: str, /) -> tuple[int, int]:
        """Return how many entries a namespace has with those within it, and their bytes."""
        number, total = await self._do(scripts.SIZE, space)
        return int(number), int(total)

    async def trim(self, entries: int, size: int, /) -> None:
        """Delete what is over, and what was written longest ago beyond these bounds."""
        await self._do(scripts.TRIM, str(entries), str(size))

    async def _there(self, space: str, keys: Sequence[str]) -> list[str]:
        """Return those of the keys whose time is not over."""
        found = await self._do(scripts.THERE, *(_place(space, key) for key in keys))
        return [key for key, is_there in zip(keys, found, strict=True) if is_there]

    async def _do(self, script: str, *given: str) -> Any:
        async def call(redis: Redis) -> Any:
            return await redis.register_script(script)([self._index, self._values], given)

        return await self._server.run(call)


def _place(space: str, key: str) -> str:
    return f"{len(space.encode())}:{space}{key}"


def _plain(text: str) -> str:
    r"""Return a pattern of Redis that only this text fits.

    >>> _plain("a*[b]")
    'a\\*\\[b\\]'
    """
    return "".join(f"\\{each}" if each in "*?[]^-\\" else each for each in text)


def _times(ttl: timedelta | None) -> tuple[str, str]:
    """Return how long a value is kept, and the index that has it, in milliseconds."""
    kept = str(_milliseconds(KEPT))
    return (kept if ttl is None else str(_milliseconds(ttl))), kept


def _milliseconds(span: timedelta) -> int:
    return math.ceil(span / timedelta(milliseconds=1))
