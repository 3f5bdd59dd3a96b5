"""One case in one process: `python -m benchmarks.cases A --url … --home … --count 1000`."""

from __future__ import annotations

from benchmarks.cases import daemons, latency, limits, throughput
from benchmarks.protocol import Order, SetUp, Work, serve

WORKS: dict[str, Work] = {
    "A": throughput.one_step_runs,
    "B": throughput.chains,
    "C": latency.submit_to_start,
    "D": throughput.spread,
    "E": daemons.recovery,
    "F": daemons.idle,
    "G": throughput.growth,
    "H": latency.fan_out,
    "I": throughput.payloads,
    "L": limits.limits,
}
SET_UPS: dict[str, SetUp] = {
    "D": throughput.many_tenants,
    "E": daemons.no_set_up,
    "F": daemons.no_set_up,
    "G": throughput.with_history,
    "L": limits.make_tables,
}


async def set_up(order: Order) -> None:
    """Make what a case needs: mostly one tenant."""
    await SET_UPS.get(order.work, throughput.one_tenant)(order)


if __name__ == "__main__":
    serve(WORKS, set_up)
