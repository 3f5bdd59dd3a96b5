"""What makes a module the script of a peer: `measure`, which reads the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.peers import recovery, spread, work
from benchmarks.peers.work import Open
from benchmarks.protocol import Figures, Order, SetUp, Work, serve

OfLibrary = Callable[[Open, Order], Awaitable[Figures]]


def measure(opened: Open, set_up: SetUp, *, steps: bool, one_a_process: bool = False) -> None:
    """Be the script: do what the command line asks for with the library that `opened` yields.

    `steps` tells whether it has durable steps; `one_a_process` that there can be but one instance
    in a process, so that each tenant of D needs a process of its own.
    """

    def bound(function: OfLibrary) -> Work:
        async def done(order: Order) -> Figures:
            return await function(opened, order)

        return done

    functions = {
        "A": work.one_step,
        "C": work.latency,
        "D": spread.over_processes if one_a_process else spread.over_instances,
        "E": recovery.recovery,
        recovery.LIVE: recovery.live,
        spread.TENANT: spread.tenant,
    } | ({"B": work.chains} if steps else {})
    serve(
        {name: bound(function) for name, function in functions.items()},
        spread.set_up_all(set_up),
    )
