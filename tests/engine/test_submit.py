"""Accepting runs: many, known ones, refused ones, and in which order they begin."""

from __future__ import annotations

import anyio
import pytest

from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import InvalidInput, QuotaExceeded, RunRefused
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Job, job
from tests.engine.live import House, Live, serving


class Gate:
    """A workflow whose tasks wait until the test lets them on, and what it has seen of them."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.began: list[str] = []

    @property
    def job(self) -> Job:
        """The workflow."""

        @job("held")
        async def held(ctx: Context, name: str = "") -> str:
            self.began.append(name)
            await self.open.wait()
            return name

        return held


@job("echo")
async def echo(ctx: Context, value: str = "") -> str:
    """Return what was given."""
    return value


async def all_at_once(live: Live, *wanted: list[StartRun]) -> list[list[Started]]:
    """Submit without a pause between, so that all ride in one flush."""
    replies: list[Reply[list[Started]]] = [Reply() for _ in wanted]
    for runs, reply in zip(wanted, replies, strict=True):
        live.engine.submit(runs, reply)
    with anyio.fail_after(20):
        return [await reply.wait() for reply in replies]


@pytest.mark.requirement("R8.many")
async def test_three_thousand_runs_in_one_call_are_all_stored_and_all_run(house: House) -> None:
    async with serving(house, echo) as live:
        started = await live.submit_all([StartRun(workflow="echo")] * 3000)
        assert len({run.id for run in started}) == 3000
        assert await house.value("SELECT count(*) FROM tenant.wf_run") == 3000
        await live.quiet()
    query = "SELECT count(*) FROM tenant.wf_run WHERE state = 'succeeded'"
    assert await house.value(query) == 3000
    assert await house.value("SELECT count(*) FROM tenant.wf_run WHERE epoch NOT IN (0, 1)") == 0


async def test_no_runs_are_an_empty_answer(house: House) -> None:
    async with serving(house, echo) as live:
        assert await live.submit_all([]) == []


@pytest.mark.requirement("R8.key")
async def test_a_key_stands_for_one_run_whenever_it_is_sent(house: House) -> None:
    one = StartRun(workflow="echo", key="k")
    async with serving(house, echo) as live:
        (first,), (again,) = await all_at_once(live, [one], [one])
        within = await live.submit_all([one, StartRun(workflow="echo", key="l"), one])
        await live.quiet()
        (later,) = await live.submit_all([one])
    async with serving(house, echo) as live:
        (after,) = await live.submit_all([one])
    known = [again, within[0], within[2], later, after]
    assert not first.known
    assert {run.id for run in known} == {first.id}
    assert all(run.known for run in known)
    assert after.state == "succeeded"
    assert not within[1].known
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 2
    assert await house.value("SELECT count(DISTINCT run_id) FROM tenant.wf_event") == 2


@pytest.mark.requirement("R8.key")
async def test_a_known_key_is_answered_also_over_a_limit_and_what_is_new_has_to_fit(
    house: House,
) -> None:
    known, new = StartRun(workflow="echo", key="k"), StartRun(workflow="echo", key="new")
    async with serving(house, echo, max_runs_per_hour=2) as live:
        (first,) = await live.submit_all([known])
        more = await live.submit_all([known, StartRun(workflow="echo", key="l"), known])
        again = await live.submit_all([known, known])
        for wanted in ([new], [StartRun(workflow="echo")], [known, new]):
            with pytest.raises(QuotaExceeded, match="max_runs_per_hour = 2"):
                await live.submit_all(wanted)
        await live.quiet()
    assert [run.id for run in [*again, more[0], more[2]]] == [first.id] * 4
    assert [run.known for run in [first, *more, *again]] == [False, True, False, True, True, True]
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 2


async def test_known_keys_take_no_slots_and_start_nothing(house: House) -> None:
    gate = Gate()
    async with serving(house, gate.job, max_concurrent_tasks=3) as live:
        for _ in range(20):
            await live.submit("held", key="k", name="keyed")
        assert gate.began == ["keyed"]
        assert live.engine.running_tasks == 1
        gate.open.set()
        await live.quiet()
        assert live.engine.running_tasks == 0
        assert live.slots.free == live.slots.total


async def test_a_known_run_that_would_have_begun_while_it_was_asked_for_does_not(
    house: House,
) -> None:
    """The slot of the run before is freed while the flush is under way that finds the key known."""
    gate = Gate()
    async with serving(house, gate.job, max_concurrent_tasks=1) as live:
        await live.submit("held", key="k", name="first")
        connection = await house.database.connect()
        reply: Reply[list[Started]] = Reply()
        async with connection.transaction():
            await connection.execute("SELECT epoch FROM tenant_acme.wf_fence FOR UPDATE")
            live.engine.submit([StartRun(workflow="held", key="k", input={"name": "again"})], reply)
            gate.open.set()
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            (again,) = await reply.wait()
        await live.quiet()
        assert again.known
        assert gate.began == ["first"]
        assert live.slots.used == 0
    assert await house.value("SELECT count(DISTINCT run_id) FROM tenant.wf_event") == 1


@pytest.mark.requirement("R8.priority")
async def test_the_more_urgent_run_begins_first(house: House) -> None:
    gate = Gate()
    async with serving(house, gate.job, max_concurrent_tasks=1) as live:
        await live.submit("held", name="holder")
        for priority in (0, 9, 5):
            run = StartRun(workflow="held", input={"name": str(priority)}, priority=priority)
            await live.submit_all([run])
        gate.open.set()
        await live.quiet()
    assert gate.began == ["holder", "9", "5", "0"]


@pytest.mark.requirement("quota.max_concurrent_runs")
async def test_runs_beyond_the_limit_wait_and_begin_as_others_end(house: House) -> None:
    gate = Gate()
    async with serving(house, gate.job, max_concurrent_runs=2, max_concurrent_tasks=1) as live:
        started = await live.submit_all([StartRun(workflow="held")] * 5)
        states = [(await house.row(run.id)).state for run in started]
        assert states.count("queued") == 4
        assert live.engine.running_tasks == 1
        gate.open.set()
        await live.quiet()
    assert len(gate.began) == 5


@pytest.mark.requirement("quota.max_queue_length", "quota.max_payload_bytes")
async def test_limits_refuse_with_their_name_and_store_nothing(house: House) -> None:
    gate = Gate()
    async with serving(
        house, gate.job, max_concurrent_runs=1, max_queue_length=2, max_payload_bytes=100
    ) as live:
        await live.submit("held")
        await live.submit_all([StartRun(workflow="held")] * 2)
        with pytest.raises(QuotaExceeded, match="has 2 runs waiting and may have 2"):
            await live.submit("held")
        with pytest.raises(QuotaExceeded, match="may send 100"):
            await live.submit("held", name="x" * 100)
        with pytest.raises(InvalidInput, match=r"\$\.name: Expected `str`"):
            await live.submit("held", name=3)
        gate.open.set()
        await live.quiet()
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 3


async def test_what_was_sent_again_and_not_stored_again_counts_once(house: House) -> None:
    async with serving(house, echo, max_runs_per_hour=3) as live:
        for _ in range(5):
            await live.submit("echo", key="same", value="1")
        await live.submit("echo", value="2")
        await live.submit("echo", value="3")
        with pytest.raises(QuotaExceeded, match="max_runs_per_hour = 3"):
            await live.submit("echo", value="4")


@pytest.mark.requirement("quota.max_runs_per_hour")
async def test_a_rate_counts_what_a_former_owner_accepted(house: House) -> None:
    async with serving(house, echo, max_runs_per_hour=3) as live:
        await live.submit_all([StartRun(workflow="echo")] * 2)
        await live.quiet()
    async with serving(house, echo, max_runs_per_hour=3) as live:
        await live.submit("echo")
        with pytest.raises(QuotaExceeded, match="max_runs_per_hour = 3"):
            await live.submit("echo")


@pytest.mark.requirement("quota.rate", "quota.rate_burst")
async def test_over_its_rate_a_tenant_is_told_when_to_come_back_whoever_serves_it(
    house: House,
) -> None:
    async with serving(house, echo, rate=1, rate_burst=2) as live:
        await live.submit_all([StartRun(workflow="echo")] * 2)
        with pytest.raises(QuotaExceeded, match="rate = 1") as refused:
            await live.submit("echo")
        assert 50 < refused.value.data["retry_after"] <= 60
    async with serving(house, echo, rate=1, rate_burst=2) as live:
        with pytest.raises(QuotaExceeded):
            await live.submit("echo")
        await live.later(61)
        await live.submit("echo")


@pytest.mark.requirement("quota.rate_over")
async def test_what_is_over_a_rate_that_delays_begins_when_it_allows(house: House) -> None:
    async with serving(house, echo, rate=1, rate_burst=1, rate_over="delay") as live:
        started = await live.submit_all([StartRun(workflow="echo", deadline="5s")] * 3)
        for done in (1, 2, 3):
            await live.quiet()
            states = [(await house.row(run.id)).state for run in started]
            assert states == ["succeeded"] * done + ["queued"] * (3 - done)
            await live.later(60)


async def test_a_row_that_the_database_refuses_fails_alone(house: House) -> None:
    await house.value(
        "ALTER TABLE tenant.wf_run ADD CONSTRAINT poison CHECK (input->>'value' <> 'poison')"
    )
    async with serving(house, echo) as live:
        replies: list[Reply[list[Started]]] = [Reply() for _ in range(40)]
        for number, reply in enumerate(replies):
            value = "poison" if number in {7, 31} else str(number)
            live.engine.submit([StartRun(workflow="echo", input={"value": value})], reply)
        for number, reply in enumerate(replies):
            if number in {7, 31}:
                with pytest.raises(RunRefused, match="violates check constraint"):
                    await reply.wait()
            else:
                await reply.wait()
        await live.quiet()
        assert live.slots.free == live.slots.total
        await live.run("echo")
    query = "SELECT count(*) FROM tenant.wf_run WHERE state = 'succeeded'"
    assert await house.value(query) == 39


@pytest.mark.requirement("R8.many")
async def test_runs_of_one_call_are_one_commit_also_when_they_are_many(house: House) -> None:
    async with serving(house, echo) as live:
        reply = Reply[None]()
        live.engine.set_pause("", reply, paused=True)
        await reply.wait()
        calls = [[StartRun(workflow="echo")] * count for count in (450, 1200, 300, 300)]
        stored = await all_at_once(live, *calls)
    commits = "SELECT count(DISTINCT xmin::text) FROM tenant.wf_run WHERE id = ANY($1)"
    for runs in stored:
        assert await house.value(commits, [run.id for run in runs]) == 1


@pytest.mark.requirement("R8.many")
async def test_of_the_runs_of_one_call_none_is_stored_when_one_is_refused(house: House) -> None:
    await house.value(
        "ALTER TABLE tenant.wf_run ADD CONSTRAINT poison CHECK (input->>'value' <> 'poison')"
    )
    async with serving(house, echo) as live:
        calls = {name: Reply[list[Started]]() for name in ("before", "poison", "after")}
        for name, reply in calls.items():
            runs = [StartRun(workflow="echo", input={"value": "fine"})] * 30
            live.engine.submit([*runs, StartRun(workflow="echo", input={"value": name})], reply)
        with pytest.raises(RunRefused, match="violates check constraint"):
            await calls.pop("poison").wait()
        for reply in calls.values():
            assert len(await reply.wait()) == 31
        await live.quiet()
        assert live.slots.free == live.slots.total
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 62


async def refuse_values(house: House, table: str, column: str) -> None:
    """Let the database refuse any row whose `column` holds the word poison."""
    check = f"CHECK ({column}::text NOT LIKE '%poison%')"
    await house.value(f"ALTER TABLE tenant.{table} ADD CONSTRAINT no {check}")


@pytest.mark.parametrize("column", ["output", "context", "error"])
async def test_a_run_whose_end_is_refused_fails_alone_and_does_not_go_in_circles(
    house: House, column: str
) -> None:
    await refuse_values(house, "wf_run", column)

    @job("w")
    async def bad(ctx: Context) -> str:
        ctx.set("value", "poison")
        if column == "error":
            raise ValueError("poison")
        return "poison"

    async with serving(house, bad, echo) as live:
        run = await live.run("w")
        after = await live.run("echo", value="fine")
        assert live.slots.free == live.slots.total
        assert not live.engine.busy
    assert await house.output(after) == "fine"
    assert "violates check constraint" in (await house.error(run))["message"]
    told = await house.told(run)
    assert told == ["run.started", "task.started bad", "run.failed"]


async def test_a_task_that_waits_for_a_commit_that_is_refused_is_ended(house: House) -> None:
    await refuse_values(house, "wf_event", "entries")

    @job("w")
    async def bad(ctx: Context) -> str:
        return str(await ctx.step("bad", lambda: "poison"))

    async with serving(house, bad) as live:
        run = await live.run("w")
        with anyio.fail_after(10):
            while live.engine.running_tasks:
                await live.engine.changed.wait()
        assert live.slots.free == live.slots.total
    assert "violates check constraint" in (await house.error(run))["message"]


async def test_a_paused_run_that_is_due_does_not_keep_the_engine_turning(house: House) -> None:
    async with serving(house, echo) as live:
        paused: Reply[None] = Reply()
        live.engine.set_pause("echo", paused, paused=True)
        await paused.wait()
        (started,) = await live.submit_all([StartRun(workflow="echo", delay="1m")])
        await live.later(61)
        assert live.engine.next_due is None
        resumed: Reply[None] = Reply()
        live.engine.set_pause("echo", resumed, paused=False)
        await resumed.wait()
        await live.quiet()
    assert (await house.row(started.id)).state == "succeeded"
