"""What a cache does, in every store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.workflow.cache import NotANumber
from tests.cache.conftest import Shelf, Shelves

VALUES: list[Any] = [None, False, 0, -1.5, "", "\u20ac'\"\\", [1, [2]], {"b": 1, "a": {"c": None}}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_what_was_set_is_got(cache: TenantCache, value: Any) -> None:
    await cache.set("key", "another")
    await cache.set("key", value)

    assert await cache.get("key", "default") == value
    assert await cache.get("other", "default") == "default"


async def test_a_deleted_value_is_gone(cache: TenantCache) -> None:
    await cache.set("key", 1)

    assert [await cache.delete("key"), await cache.delete("key")] == [True, False]
    assert await cache.get("key") is None


async def test_many_values_are_written_read_and_deleted_at_once(cache: TenantCache) -> None:
    await cache.set_many({"b": 2, "a": 1, "c": 3}, ttl="1h")

    assert await cache.get_many(["c", "x", "a", "a"]) == {"c": 3, "a": 1}
    assert await cache.delete_many(["a", "b", "x"]) == 2
    assert await cache.keys() == ["c"]
    await cache.set_many({})
    assert await cache.get_many([]) == {}


@pytest.mark.requirement("T12.expiry")
async def test_a_value_is_there_until_its_time_is_over(shelf: Shelf) -> None:
    cache = shelf.cache
    await cache.set("short", 1, ttl="10s")
    await cache.set("long", 2, ttl=timedelta(minutes=1))
    await cache.set("for ever", 3)
    await shelf.later(9)
    assert await cache.keys() == ["for ever", "long", "short"]

    await shelf.later(2)

    assert await cache.get_many(["short", "long", "for ever"]) == {"long": 2, "for ever": 3}
    assert await cache.keys() == ["for ever", "long"]
    assert (await cache.stats()).entries == 2
    assert not await cache.delete("short")
    await cache.set("short", 1, ttl=10)
    await cache.set("short", 1)
    await shelf.later(11)
    assert await cache.get("short") == 1


async def test_a_counter_begins_at_zero_and_keeps_its_first_time(shelf: Shelf) -> None:
    cache = shelf.cache

    counted = [await cache.increment("n", ttl=10), await cache.increment("n", 5, ttl=100)]
    counted += [await cache.decrement("n", 10), await cache.increment("n", 0)]
    assert counted == [1, 6, -4, -4]
    assert await cache.get("n") == -4
    await shelf.later(11)

    assert await cache.increment("n") == 1


@pytest.mark.parametrize("value", ["5", 1.5, None, [1], 2**63 - 1])
async def test_what_is_no_number_is_not_counted(cache: TenantCache, value: Any) -> None:
    await cache.set("key", value)

    with pytest.raises(NotANumber, match="'key'"):
        await cache.increment("key")

    assert await cache.get("key") == value


async def test_only_the_first_sets_what_is_absent(shelf: Shelf) -> None:
    cache = shelf.cache

    assert await cache.set_if_absent("lock", "ann", ttl=10)
    assert not await cache.set_if_absent("lock", "bob", ttl=10)
    assert await cache.get("lock") == "ann"
    await shelf.later(11)

    assert await cache.set_if_absent("lock", "bob")


async def test_a_value_is_swapped_for_the_one_that_was_expected(shelf: Shelf) -> None:
    cache = shelf.cache
    await cache.set("key", {"b": 1, "a": [2]}, ttl=10)

    assert not await cache.compare_and_set("key", {"b": 1}, 2)
    assert not await cache.compare_and_set("other", None, 2)
    assert await cache.compare_and_set("key", {"a": [2], "b": 1}, 2, ttl=20)
    await shelf.later(11)
    assert await cache.get("key") == 2
    await shelf.later(11)

    assert not await cache.compare_and_set("key", 2, 3)


@pytest.mark.requirement("T12.atomic")
async def test_of_many_who_count_or_swap_at_once_none_is_lost(cache: TenantCache) -> None:
    won = []

    async def work(number: int) -> None:
        await cache.increment("n")
        if await cache.set_if_absent("first", number):
            won.append(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(work, number)

    assert await cache.get("n") == 20
    assert won == [await cache.get("first")]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("*", ["%", "*", "a%b", "a*b", "a\\b", "a_b", "axb", "axxb"]),
        ("a?b", ["a%b", "a*b", "a\\b", "a_b", "axb"]),
        ("a**b", ["a%b", "a*b", "a\\b", "a_b", "axb", "axxb"]),
        ("a_b", ["a_b"]),
        ("a%b", ["a%b"]),
        ("%*", ["%"]),
        ("%", ["%"]),
        ("a\\*b", ["a*b"]),
        ("a\\\\b", ["a\\b"]),
        ("a\\", []),
        ("' OR true --", []),
        ("[ax]*", []),
    ],
)
async def test_keys_are_found_by_a_pattern_that_means_nothing_else(
    cache: TenantCache, pattern: str, fits: list[str]
) -> None:
    await cache.set_many(dict.fromkeys(["%", "*", "a%b", "a*b", "a\\b", "a_b", "axb", "axxb"]))

    assert await cache.keys(pattern) == fits


async def test_an_answer_of_keys_is_bounded(cache: TenantCache) -> None:
    await cache.set_many({f"k{number}": number for number in range(5)})

    assert await cache.keys(limit=2) == ["k0", "k1"]
    for limit in (0, 1001):
        with pytest.raises(ValueError, match="limit"):
            await cache.keys(limit=limit)


async def test_a_namespace_is_apart_and_flushed_with_those_within_it(cache: TenantCache) -> None:
    a, ab = cache.namespace("a"), cache.namespace("a").namespace("b")
    for place, value in ((cache, 0), (a, 1), (ab, 2), (cache.namespace("a:b"), 3)):
        await place.set("key", value)
    await cache.set("a:b:key", 4)

    assert [await place.get("key") for place in (cache, a, ab)] == [0, 1, 2]
    assert (await a.stats()).entries == 2
    assert await a.flush() == 2
    assert [await place.get("key") for place in (cache, a, ab)] == [0, None, None]
    assert await cache.namespace("a:b").get("key") == 3
    assert await cache.flush() == 3
    assert (await cache.stats()).entries == 0


@pytest.mark.requirement("T12.apart")
async def test_two_tenants_have_nothing_in_common(shelves: Shelves) -> None:
    acme, globex = shelves.acme.cache, shelves.globex.cache
    await acme.set("key", "acme's")
    await globex.namespace("acme").set("key", "globex's")

    assert await globex.get("key") is None
    assert await globex.flush() == 1
    assert await acme.get("key") == "acme's"


async def test_the_use_is_counted(cache: TenantCache) -> None:
    await cache.set("key", "12")
    await cache.get("key")
    await cache.namespace("a").get_many(["x", "y"])

    stats = await cache.stats()

    assert (stats.entries, stats.bytes, stats.hits, stats.misses) == (1, 3 + 4, 1, 2)


@pytest.mark.requirement("quota.max_cache_entries", "quota.max_cache_bytes")
@pytest.mark.requirement("T12.bounded")
async def test_what_was_written_longest_ago_makes_room(shelves: Shelves) -> None:
    cache = shelves.acme.cache
    shelves.bounds[0] = Bounds(entries=3)
    for number in range(6):
        await cache.set(f"k{number}", number)
        await shelves.acme.later(1)
    assert await cache.keys() == ["k3", "k4", "k5"]
    await cache.set("k3", 3)

    shelves.bounds[0] = Bounds(entries=3, bytes=8)
    await cache.set("k6", "x" * 2)

    assert await cache.keys() == ["k6"]
    shelves.bounds[0] = Bounds(entries=3, bytes=11)
    await cache.set("k7", 1)
    assert await cache.keys() == ["k6", "k7"]


async def test_values_that_grow_in_their_place_are_bounded_as_well(shelves: Shelves) -> None:
    cache = shelves.acme.cache
    for number in range(2):
        await cache.set(f"k{number}", "")
        await shelves.acme.later(1)
    shelves.bounds[0] = Bounds(entries=3, bytes=20)

    for number in range(2):
        assert await cache.compare_and_set(f"k{number}", "", "x" * 12)
        await shelves.acme.later(1)

    assert await cache.keys() == ["k1"]


async def test_with_the_oldest_goes_what_is_over(shelf: Shelf) -> None:
    for number in range(199):
        await shelf.cache.set(f"k{number}", 1, ttl=1)
    await shelf.later(2)
    await shelf.cache.set("new", 1)

    assert await shelf.cache.store.remove("", ["k0", "new"]) == 1
    assert (await shelf.cache.stats()).entries == 0
