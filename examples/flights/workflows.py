"""The workflow `monthly_report`: load a month of flights, look at it from three sides, sum up.

    load ──┬── delays ─────────┬── summary
           ├── cancellations ──┤
           └── routes ─────────┘

The workflow `monthly_release` has the report made and publishes it once somebody has approved it.

Every tenant is an airline. Its carrier code is in its declaration, `metadata = { carrier = "UA" }`;
its flights are in the table `flight` of its own schema, and `ctx.db` reaches nothing else.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import msgspec
from anyio import to_thread

from examples.flights.flight_file import columns, read_chunks
from orchestrator import Context, Fail, Retry, Workflow, job

ADD_FLIGHTS = """
WITH added AS (
    INSERT INTO flight (year, month, day, sched_dep_time, carrier, flight, origin, dest,
                        dep_delay, arr_delay, tailnum, distance)
    SELECT * FROM unnest($1::smallint[], $2::smallint[], $3::smallint[], $4::smallint[], $5::text[],
                         $6::integer[], $7::text[], $8::text[],
                         $9::integer[], $10::integer[], $11::text[], $12::integer[])
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM added
"""

DELAYS = """
SELECT round(avg(dep_delay), 4)::float8 AS mean, max(dep_delay) AS worst
FROM flight JOIN unnest($1::smallint[], $2::smallint[]) AS asked (year, month) USING (year, month)
WHERE carrier = $3
"""

CANCELLATIONS = """
SELECT count(*) AS flights, count(*) FILTER (WHERE dep_delay IS NULL) AS cancelled
FROM flight JOIN unnest($1::smallint[], $2::smallint[]) AS asked (year, month) USING (year, month)
WHERE carrier = $3
"""

BUSIEST_ROUTE = """
SELECT origin || '-' || dest
FROM flight JOIN unnest($1::smallint[], $2::smallint[]) AS asked (year, month) USING (year, month)
WHERE carrier = $3
GROUP BY origin, dest
ORDER BY count(*) DESC, origin COLLATE "C", dest COLLATE "C"
LIMIT 1
"""

PUBLISH = """
INSERT INTO release (month, flights, cancelled, mean_dep_delay, approved_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (month) DO UPDATE
SET flights = excluded.flights, cancelled = excluded.cancelled,
    mean_dep_delay = excluded.mean_dep_delay, approved_by = excluded.approved_by
"""

Month = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
"""A month as `2013-01`; a run with another form of it is refused when it is submitted."""

report = Workflow("monthly_report", version="1")
release = Workflow("monthly_release", version="1")


# The database may be away for a moment, so try again. A bad file stays bad: BadFile is a Fail, and
# that is never retried.
@report.task(retry=Retry(attempts=5, backoff="exponential", initial="1s", cap="30s"), timeout="5m")
async def load(ctx: Context, file: str) -> dict[str, Any]:
    """Put the tenant's flights of the file into its table; loading a month again changes nothing.

    All of it is one transaction, so a file that turns out to be truncated leaves nothing behind.
    """
    carrier = ctx.tenant.metadata.get("carrier")
    if not isinstance(carrier, str):
        raise Fail(f"tenant {ctx.tenant.id!r} has no carrier code in its metadata")
    months: set[tuple[int, int]] = set()
    found = added = 0
    with closing(read_chunks(Path(file), carrier)) as chunks:
        async with ctx.db.transaction() as tx:
            # The file is read in a worker thread, so that the daemon serves others meanwhile.
            while (chunk := await to_thread.run_sync(next, chunks, None)) is not None:
                months |= chunk.months
                found += len(chunk.flights)
                added += await tx.fetchval(ADD_FLIGHTS, *columns(chunk.flights))
    ctx.log.info("flights.loaded", carrier=carrier, found=found, added=added)
    return {"carrier": carrier, "months": sorted(months), "found": found, "added": added}


@report.task(after=[load])
async def delays(ctx: Context) -> dict[str, Any]:
    """Return the mean delay of the flights that left, and the worst one, in minutes."""
    [row] = await ctx.db.fetch(DELAYS, *asked(ctx))
    return dict(row.items())


@report.task(after=[load])
async def cancellations(ctx: Context) -> dict[str, int]:
    """Return how many flights were planned, and how many of them never left."""
    [row] = await ctx.db.fetch(CANCELLATIONS, *asked(ctx))
    return dict(row.items())


@report.task(after=[load])
async def routes(ctx: Context) -> str | None:
    """Return the route flown most, as `EWR-IAH`; of several the first by the alphabet."""
    route: str | None = await ctx.db.fetchval(BUSIEST_ROUTE, *asked(ctx))
    return route


@report.task(after=[delays, cancellations, routes])
def summary(ctx: Context) -> dict[str, Any]:
    """Put the figures into the context of the run; a sync task, so it runs in a worker thread."""
    figures = {
        "flights": ctx.output(cancellations)["flights"],
        "cancelled": ctx.output(cancellations)["cancelled"],
        "mean_dep_delay": ctx.output(delays)["mean"],
        "worst_delay": ctx.output(delays)["worst"],
        "busiest_route": ctx.output(routes),
    }
    for name, figure in figures.items():
        ctx.set(name, figure)
    return figures


@release.task()
async def prepare(ctx: Context, file: str) -> dict[str, Any]:
    """Have the month reported by a run of its own, and wait for its figures."""
    child = await ctx.start_child("monthly_report", {"file": file})
    figures: dict[str, Any] = await ctx.wait(child)
    return figures


@release.task(after=[prepare])
async def approval(ctx: Context) -> str:
    """Wait for who approves; the run rests in the database meanwhile.

    insula run signal UA RUN approved --data '{"by": "ann@united.example"}'
    """
    try:
        answer = await ctx.wait_signal("approved", timeout="14d")
    except TimeoutError as error:
        raise Fail("nobody approved the figures within 14 days") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("by"), str):
        raise Fail('the signal must say who approves: {"by": "ann@united.example"}')
    by: str = answer["by"]
    return by


@release.task(after=[approval], retry=Retry(attempts=5, initial="1s", cap="30s"))
async def publish(ctx: Context, month: Month) -> None:
    """Store the figures as published; publishing a month again replaces them."""
    figures = ctx.output(prepare)
    row = (figures["flights"], figures["cancelled"], figures["mean_dep_delay"])
    await ctx.db.execute(PUBLISH, month, *row, ctx.output(approval))


@job("released")
async def released(ctx: Context) -> list[dict[str, Any]]:
    """Return what the tenant has published, the first month first."""
    return [dict(row.items()) for row in await ctx.db.fetch("SELECT * FROM release ORDER BY month")]


@job("stored_flights")
async def stored_flights(ctx: Context) -> int:
    """Return how many flights the tenant's table holds; a job is a workflow of one task."""
    count: int = await ctx.db.fetchval("SELECT count(*) FROM flight")
    return count


def asked(ctx: Context) -> tuple[list[int], list[int], str]:
    """Return what a report is about: the months of the file that was read, and the carrier."""
    loaded = ctx.output(load)
    months = loaded["months"]
    return [year for year, _ in months], [month for _, month in months], loaded["carrier"]
