"""The same cache in every store there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from anyio.from_thread import start_blocking_portal
from redis.asyncio import Redis

from orchestrator.cache.memory import MemoryStore
from orchestrator.cache.redis import RedisServer
from orchestrator.cache.store import Store
from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.store import connect
from orchestrator.store.tenant.cache import SETTINGS, CacheConnection, PostgresStore
from orchestrator.store.tenant.login import Login, Way
from tests.engine.live import MOVED_CLOCK
from tests.support.application import opened
from tests.support.database import Database, Databases
from tests.support.redis import running


@dataclass
class Shelf:
    """A tenant's cache, and how to let time pass for it."""

    cache: TenantCache
    later: Callable[[float], Awaitable[None]]


@dataclass
class Shelves:
    """Caches of tenants `acme` and `globex` in one store."""

    acme: Shelf
    globex: Shelf
    bounds: list[Bounds] = field(default_factory=lambda: [Bounds()])


def in_memory() -> Shelves:
    """Return caches in memory; their time is moved by hand."""
    now, bounds = [datetime(2026, 1, 1, tzinfo=UTC)], [Bounds()]

    async def later(seconds: float) -> None:
        now[0] += timedelta(seconds=seconds)

    def shelf() -> Shelf:
        return Shelf(TenantCache(MemoryStore(lambda: now[0]), lambda: bounds[0]), later)

    return Shelves(shelf(), shelf(), bounds)


@asynccontextmanager
async def in_postgres(database: Database) -> AsyncIterator[Shelves]:
    """Yield caches in the schemas of two tenants, empty."""
    admin = await connect.connect(database.target, application_name="insula test")
    await admin.execute("TRUNCATE tenant_acme.wf_cache, tenant_globex.wf_cache")

    async def later(seconds: float) -> None:
        span = timedelta(seconds=seconds)
        await admin.execute("UPDATE moved.ahead SET span = span + $1", span)

    bounds, opened = [Bounds()], list[CacheConnection]()
    settings = {**SETTINGS, "search_path": "moved, pg_catalog, pg_temp"}

    def shelf(tenant: str) -> Shelf:
        login = Login(Way(database.as_app(tenant)), application_name="cache", settings=settings)
        opened.append(CacheConnection(login))
        store: Store = PostgresStore(opened[-1].run, f"tenant_{tenant}")
        return Shelf(TenantCache(store, lambda: bounds[0]), later)

    yield Shelves(shelf("acme"), shelf("globex"), bounds)
    for connection in opened:
        await connection.close()
    await admin.close()


@asynccontextmanager
async def in_an_application(database: Database) -> AsyncIterator[Shelves]:
    """Yield what an application has of the caches in the schemas of two tenants, empty."""
    admin = await connect.connect(database.target, application_name="insula test")
    await admin.execute("TRUNCATE tenant_acme.wf_cache, tenant_globex.wf_cache")

    async def later(seconds: float) -> None:
        """Take time from all that is kept: what sessions of the application see is fixed."""
        for tenant in ("acme", "globex"):
            await admin.execute(
                f"UPDATE tenant_{tenant}.wf_cache SET expires_at = expires_at - $1::interval",
                timedelta(seconds=seconds),
            )

    bounds = [Bounds()]
    async with opened(database, size=1, cache_size=2) as (sql, _):

        def shelf(tenant: str) -> Shelf:
            return Shelf(replace(sql.cache(tenant), bounds=lambda: bounds[0]), later)

        yield Shelves(shelf("acme"), shelf("globex"), bounds)
    await admin.close()


@asynccontextmanager
async def in_redis(url: str) -> AsyncIterator[Shelves]:
    """Yield caches on a server of Redis, empty."""
    admin = Redis.from_url(url)
    await admin.flushall()

    async def later(seconds: float) -> None:
        """Take time from all that is kept: the server's clock can not be moved."""
        for key in await admin.keys():
            left = await admin.pttl(key)
            await admin.pexpire(key, left - round(seconds * 1000))

    async with RedisServer(url, "test") as server:
        bounds = [Bounds()]

        def shelf(tenant: str) -> Shelf:
            return Shelf(TenantCache(server.store(tenant), lambda: bounds[0]), later)

        yield Shelves(shelf("acme"), shelf("globex"), bounds)
    await admin.aclose()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a server of our own."""
    with running(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def two_tenants(databases: Databases) -> Iterator[Database]:
    """Yield a database with two tenants: to make them takes longer than a test of a cache."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(databases.lend()) as database,
    ):
        for tenant in ("acme", "globex"):
            portal.call(database.provision, tenant)
        admin = portal.call(database.connect)
        portal.call(admin.execute, MOVED_CLOCK)
        yield database


Opening = Callable[[], AbstractAsyncContextManager[Shelves]]


@pytest.fixture(params=["memory", "postgres", "application", "redis"])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Return what opens the caches of a test: a server is looked for outside its event loop."""
    kind: str = request.param
    if kind == "memory":
        return lambda: nullcontext(in_memory())
    if kind == "redis":
        return partial(in_redis, request.getfixturevalue("redis_url"))
    on_database = in_postgres if kind == "postgres" else in_an_application
    return partial(on_database, request.getfixturevalue("two_tenants"))


@pytest.fixture
async def shelves(opening: Opening) -> AsyncIterator[Shelves]:
    """Yield the caches of two tenants, in each store."""
    async with opening() as made:
        yield made


@pytest.fixture
def shelf(shelves: Shelves) -> Shelf:
    """Return the cache of one tenant."""
    return shelves.acme


@pytest.fixture
def cache(shelf: Shelf) -> TenantCache:
    """Return the cache of one tenant, for a test in which no time passes."""
    return shelf.cache
