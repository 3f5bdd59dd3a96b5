"""Who gets to a server of Redis's kind: over TLS, and as a user with few rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from orchestrator.cache.redis import RedisServer
from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.model.errors import CacheUnavailable
from tests.support.tls import behind_tls, certificate

KEYS = ["insula:*"]
CALLS = ["-@all", "+@read", "+@write", "+@scripting", "+@connection"]
"""What docs/explanation/cache.md says that Insula's user needs, and TIME."""


@pytest.fixture
async def user(redis_url: str) -> AsyncIterator[str]:
    """Yield the name of a user who may no more than Insula needs."""
    async with Redis.from_url(redis_url) as admin:
        await admin.acl_setuser(
            "ann",
            enabled=True,
            passwords=["+hush"],
            keys=KEYS,
            categories=CALLS,
            commands=["+time"],
        )
        yield "ann"
        await admin.acl_deluser("ann")


async def use_all_of(cache: TenantCache) -> None:
    """Call everything that a cache can do."""
    await cache.set_many({"a": 1, "b": 2}, ttl="1h")
    assert await cache.increment("n") == 1
    assert await cache.compare_and_set("a", 1, 3)
    assert not await cache.set_if_absent("b", 4)
    assert await cache.keys() == ["a", "b", "n"]
    assert (await cache.stats()).entries == 3
    await cache.store.trim(3, 1000)
    assert await cache.delete("b")
    assert await cache.flush() == 2


def port_of(url: str) -> int:
    """Return the port that a URL names."""
    port = urlsplit(url).port
    assert port is not None
    return port


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_a_cache_is_used_over_tls_by_a_user_with_few_rights(
    redis_url: str, user: str, tmp_path: Path, scheme: str
) -> None:
    known = certificate(tmp_path, "localhost")
    async with behind_tls(port_of(redis_url), known) as port:
        url = f"{scheme}://{user}:hush@localhost:{port}/0?ssl_ca_certs={known}"
        async with RedisServer(url, scheme) as server:
            await use_all_of(TenantCache(server.store("acme"), Bounds))


@pytest.mark.parametrize(
    ("made_for", "query"),
    [("localhost", ""), ("elsewhere.example", "?ssl_ca_certs={file}")],
    ids=["nobody known vouches for it", "of another host"],
)
async def test_a_certificate_that_proves_nothing_is_refused(
    redis_url: str, tmp_path: Path, made_for: str, query: str
) -> None:
    file = certificate(tmp_path, made_for)
    async with behind_tls(port_of(redis_url), file) as port:
        url = f"rediss://ann:hush@localhost:{port}/0{query.format(file=file)}"
        async with RedisServer(url, "tls") as server:
            with pytest.raises(CacheUnavailable, match="certificate verify failed") as caught:
                await TenantCache(server.store("acme"), Bounds).get("key")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("login", ["ann:wrong-51d0", "bob:hush"])
async def test_a_login_that_is_refused_is_one_error_without_the_password(
    redis_url: str, user: str, login: str
) -> None:
    url = redis_url.replace("127.0.0.1", f"{login}@127.0.0.1")
    async with RedisServer(url, "login") as server:
        with pytest.raises(CacheUnavailable, match="does not answer") as caught:
            await TenantCache(server.store("acme"), Bounds).get("key")

    assert login.partition(":")[2] not in str(caught.value)


async def test_insulas_user_reads_nothing_that_is_not_insulas(redis_url: str, user: str) -> None:
    url = redis_url.replace("127.0.0.1", f"{user}:hush@127.0.0.1")
    async with Redis.from_url(url) as ours:
        with pytest.raises(NoPermissionError):
            await ours.get("another application's")
