"""What is measured: the cases, how much of each, and how long one may take at most."""

from __future__ import annotations

import msgspec


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of work of one size, done by a process of its own.

    `name` is the work's letter and what is varied; `count` and `size` are explained at
    `benchmarks.protocol.Order`. `quick` is both of them for a look whether it works at all.
    """

    name: str
    title: str
    count: int
    size: int = 1
    quick: tuple[int, int]
    seconds: float = 90.0
    """Of the clock, at most, for the set-up and again for each round."""

    rounds: int = 3
    """How many it is worth at most."""

    @property
    def work(self) -> str:
        """The letter."""
        return self.name[0]

    def scale(self, *, quick: bool) -> tuple[int, int]:
        """Return the count and the size."""
        return self.quick if quick else (self.count, self.size)


CASES = (
    Case(name="A", title="one-step runs, one tenant", count=20_000, quick=(1000, 1)),
    Case(name="B", title="chains of 5 durable steps, one tenant", count=8_000, quick=(200, 1)),
    Case(name="C", title="submit to start, idle", count=1000, quick=(30, 1)),
    Case(name="L", title="limits of the machine", count=20, quick=(1, 1)),
    Case(name="D20", title="A over 20 tenants", count=20_000, size=20, quick=(200, 5), rounds=2),
    Case(
        name="D100", title="A over 100 tenants", count=20_000, size=100, quick=(200, 10),
        rounds=2,
    ),
    Case(name="E", title="kill -9 with 1,000 runs in flight", count=1000, quick=(50, 1), rounds=2),
    Case(name="H", title="fan-out of 10,000 items", count=10_000, quick=(500, 1)),
    Case(
        name="G10k", title="A with 10 thousand finished runs", count=10_000, size=10_000,
        quick=(500, 1000), rounds=2,
    ),
    Case(
        name="G1M", title="A with 1 million finished runs", count=10_000, size=1_000_000,
        quick=(500, 5000), rounds=2, seconds=240,
    ),
    Case(
        name="D500", title="A over 500 tenants", count=20_000, size=500, quick=(200, 20),
        rounds=2, seconds=180,
    ),
    Case(
        name="F100", title="100 declared tenants, idle", count=10, size=100, quick=(1, 20),
        rounds=1,
    ),
    Case(
        name="F10000", title="10,000 declared tenants, idle", count=10, size=10_000, quick=(1, 100),
        rounds=1, seconds=180,
    ),
    Case(
        name="I1", title="payloads of 1 kB", count=10_000, size=1_000, quick=(200, 1_000), rounds=2,
    ),
    Case(
        name="I10", title="payloads of 10 kB", count=4_000, size=10_000, quick=(100, 10_000),
        rounds=2,
    ),
    Case(
        name="I100", title="payloads of 100 kB", count=500, size=100_000, quick=(20, 100_000),
        rounds=2,
    ),
)  # fmt: skip
"""In the order of their weight: what a run has no time for are the last."""


PEER_CASES = (
    Case(name="A", title="one-step runs, one tenant", count=20_000, quick=(100, 1)),
    Case(name="B", title="chains of 5 durable steps, one tenant", count=8_000, quick=(40, 1)),
    Case(name="C", title="submit to start, idle", count=500, quick=(10, 1), rounds=2),
    Case(name="L", title="limits of the machine", count=20, quick=(1, 1), rounds=1),
    Case(name="D20", title="A over 20 tenants", count=20_000, size=20, quick=(60, 3), rounds=1),
    Case(
        name="D100", title="A over 100 tenants", count=20_000, size=100, quick=(60, 6), rounds=1,
        seconds=150,
    ),
    Case(
        name="E50", title="kill -9 with 50 runs in flight", count=50, quick=(5, 1), rounds=1,
        seconds=130,
    ),
)  # fmt: skip
"""What is done with the peers in turns; the counts are Insula's."""


def chosen(only: str, cases: tuple[Case, ...] = CASES) -> list[Case]:
    """Return the cases whose name or letter is in a list such as "A,D100"; '' is all of them.

    Raises ValueError for a name that there is not.
    """
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    known = {case.name for case in cases} | {case.work for case in cases}
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(
            f"there is no case {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    return [case for case in cases if not wanted or case.name in wanted or case.work in wanted]
