"""What one call of a tenant's cache takes, by kind of call.

    python -m benchmarks.cache --calls 5000
    python -m benchmarks.cache --redis redis://127.0.0.1:6379/0

A server of PostgreSQL and a tenant are made for it, unless a server of Redis or Valkey is named;
the calls go one after the other, over one connection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.protocol import percentiles
from benchmarks.server import running
from orchestrator.cache.redis import RedisServer
from orchestrator.cache.store import Store
from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.provision import ProvisionSpec, provision
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Target, connect
from orchestrator.store.control import tenants
from orchestrator.store.migrate import migrate_control
from orchestrator.store.tenant.cache import SETTINGS, CacheConnection, PostgresStore
from orchestrator.store.tenant.login import Login, Way

TENANT = TenantId("acme")
VALUE = {"rate": 1.0837, "currencies": ["EUR", "USD"], "at": "2026-01-01T00:00:00Z"}


async def in_postgresql(target: Target, calls: int) -> dict[str, Any]:
    """Measure the cache in the table of a tenant that is made for it."""
    login = await _tenant(target)
    connection = CacheConnection(Login(Way(login), application_name="bench", settings=SETTINGS))
    figures = await measure(PostgresStore(connection.run, "tenant_acme"), calls)
    await connection.close()
    return figures


async def in_redis(url: str, calls: int) -> dict[str, Any]:
    """Measure the cache on a server of its own, which has no tenant `acme` there yet."""
    async with RedisServer(url, "bench") as server:
        return await measure(server.store(TENANT), calls)


async def measure(store: Store, calls: int) -> dict[str, Any]:
    """Return the milliseconds of each kind of call, with 10,000 values there."""
    cache = TenantCache(store, Bounds)
    for start in range(0, 10_000, 1000):
        await cache.set_many({f"k{number}": VALUE for number in range(start, start + 1000)})
    kinds: dict[str, Callable[[str], Awaitable[Any]]] = {
        "get": cache.get,
        "get, missing": lambda key: cache.get(f"no {key}"),
        "set": lambda key: cache.set(key, VALUE, ttl=60),
        "increment": lambda key: cache.increment(f"n {key}"),
        "set_if_absent": lambda key: cache.set_if_absent(key, VALUE),
        "delete": cache.delete,
    }
    figures = {}
    for kind, call in kinds.items():
        taken = []
        for number in range(calls):
            began = time.perf_counter()
            await call(f"k{number * 7919 % 10_000}")
            taken.append(time.perf_counter() - began)
        figures[kind] = percentiles(taken)
    await cache.flush()
    return figures


async def _tenant(target: Target) -> Target:
    admin = await connect(target, application_name="bench")
    await migrate_control(admin)
    spec = ProvisionSpec(
        role_prefix="insula",
        installation=await tenants.installation_id(admin),
        key=InstallationKey(bytes(32)),
    )
    await tenants.register(admin, TENANT, "{}")
    await provision(admin, TENANT, spec)
    await admin.close()
    return spec.logins(TENANT).as_app(target)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--redis", metavar="URL", help="measure this server instead")
    options = parser.parse_args()
    if options.redis:
        print(json.dumps(asyncio.run(in_redis(options.redis, options.calls)), indent=1))
        return
    with running() as (server, _):
        server.create("cache")
        target = Target.parse(server.url("cache"))
        print(json.dumps(asyncio.run(in_postgresql(target, options.calls)), indent=1))


if __name__ == "__main__":
    main()
