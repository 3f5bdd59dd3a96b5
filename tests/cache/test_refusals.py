"""What a cache refuses before any store is asked."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cache.tenant_cache import VALUE_BYTES, TenantCache
from orchestrator.workflow.secret import Revealed, SecretLeaked
from tests.cache.conftest import in_memory


@pytest.fixture
def cache() -> TenantCache:
    """Return a cache in memory."""
    return in_memory().acme.cache


@pytest.mark.parametrize("key", ["", "x" * 513, "\u20ac" * 171, "a\0b", "\ud800", 5])
async def test_a_key_that_can_not_be_one_is_refused(cache: TenantCache, key: Any) -> None:
    for call in (
        lambda: cache.get(key),
        lambda: cache.set(key, 1),
        lambda: cache.increment(key),
        lambda: cache.set_if_absent(key, 1),
        lambda: cache.compare_and_set(key, 1, 2),
        lambda: cache.delete(key),
        lambda: cache.keys(key),
    ):
        with pytest.raises((TypeError, ValueError)):
            await call()


@pytest.mark.parametrize("ttl", [0, -1, "0s", "soon", float("nan"), float("inf"), "400d", [1]])
async def test_a_time_to_live_is_a_span_of_time(cache: TenantCache, ttl: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        await cache.set("key", 1, ttl=ttl)
    assert await cache.get("key") is None


@pytest.mark.parametrize(
    "value", [float("nan"), {"x": float("inf")}, object(), "a\0b", "x" * VALUE_BYTES]
)
async def test_a_value_that_can_not_be_kept_is_refused(cache: TenantCache, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await cache.set("key", value)


@pytest.mark.parametrize("by", [1.5, True, 2**63, "1"])
async def test_a_counter_is_changed_by_a_whole_number(cache: TenantCache, by: Any) -> None:
    with pytest.raises(TypeError):
        await cache.increment("n", by)


async def test_too_many_keys_are_refused(cache: TenantCache) -> None:
    with pytest.raises(ValueError, match="at most 1000"):
        await cache.set_many({str(number): 1 for number in range(1001)})


async def test_no_secret_is_kept(cache: TenantCache) -> None:
    revealed = Revealed()
    revealed.add("api_key", "hush-hush")

    with pytest.raises(SecretLeaked):
        await cache.hiding(revealed).namespace("a").set("key", ["Bearer hush-hush"])
