"""What is Redis's own: whose keys are whose, a server that is away, what is left in its memory."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from redis.asyncio import Redis

from orchestrator.cache.redis import RedisServer
from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.model.errors import CacheUnavailable
from tests.support.redis import free_port


async def test_names_that_read_alike_in_a_row_share_nothing(redis_url: str) -> None:
    async with RedisServer(redis_url, "rows") as server:
        caches = [
            TenantCache(server.store(*names), Bounds)
            for names in (("ab", "c"), ("a", "bc"), ("a", "1:b"), ("a1", ":b"))
        ]
        for number, cache in enumerate(caches):
            await cache.namespace("i").set("v", number)

        assert [await cache.namespace("i").get("v") for cache in caches] == [0, 1, 2, 3]
        assert [await cache.flush() for cache in caches] == [1, 1, 1, 1]


async def test_nothing_stays_for_ever_and_a_flush_leaves_nothing(redis_url: str) -> None:
    async with RedisServer(redis_url, "left") as server, Redis.from_url(redis_url) as admin:
        cache = TenantCache(server.store("acme"), Bounds)
        await cache.set("for ever", 1)
        await cache.increment("n")
        keys = await admin.keys("insula:4:left*")
        assert [await admin.pttl(key) > 0 for key in keys] == [True] * 3

        assert await cache.flush() == 2
        assert await admin.keys("insula:4:left*") == []


async def test_an_index_that_the_server_has_evicted_empties_the_cache(redis_url: str) -> None:
    async with RedisServer(redis_url, "evicted") as server, Redis.from_url(redis_url) as admin:
        cache = TenantCache(server.store("acme"), Bounds)
        await cache.set("key", 1)
        await admin.delete("insula:7:evicted4:acmei")

        assert await cache.get("key") is None
        assert not await cache.compare_and_set("key", 1, 2)
        assert await cache.set_if_absent("key", 3)
        assert (await cache.get("key"), await cache.keys()) == (3, ["key"])


async def test_a_server_that_is_away_is_one_error_without_the_password() -> None:
    async with RedisServer(f"valkey://ann:hush@127.0.0.1:{free_port()}/0", "away") as server:
        cache = TenantCache(server.store("acme"), Bounds)
        for call in (cache.get("key"), cache.set("key", 1), cache.keys(), cache.increment("n")):
            with pytest.raises(CacheUnavailable, match="does not answer") as caught:
                await call
            assert "hush" not in str(caught.value)


async def test_a_call_that_was_cut_off_leaves_no_answer_to_the_next(redis_url: str) -> None:
    async with RedisServer(redis_url, "cut") as server, Redis.from_url(redis_url) as admin:
        cache = TenantCache(server.store("acme"), Bounds)
        await cache.set_many({"key": "wrong", "other": "right"})
        await admin.client_pause(100)
        with anyio.move_on_after(0.02) as cut:
            await cache.get("key")

        assert cut.cancelled_caught
        assert await cache.get("other") == "right"


async def test_after_lost_connections_and_scripts_the_next_call_finds_all(redis_url: str) -> None:
    async with RedisServer(redis_url, "lost") as server, Redis.from_url(redis_url) as admin:
        cache = TenantCache(server.store("acme"), Bounds)
        await cache.set("key", 1)
        await admin.script_flush()
        await admin.client_kill_filter(_type="normal", skipme=True)
        with suppress(CacheUnavailable):  # it may not have been noticed yet
            await cache.get("key")

        assert await cache.get("key") == 1
