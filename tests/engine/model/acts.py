"""What can be done to a tenant, the real one and its model, and what both have to agree on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import Any, Literal
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from orchestrator.engine import entries
from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import InsulaError, RunConflict
from orchestrator.model.ids import new_run_id
from orchestrator.model.states import RunState
from orchestrator.store.tenant.journal import Sent
from tests.engine.model.plays import FIRED, PLAYS, Model, RunModel
from tests.engine.model.stage import RUN_OVER, START, TABLES, Fate, Owner, Stage

Doing = Literal[
    "submit",
    "finish",
    "fail",
    "signal",
    "cancel",
    "pause",
    "resume",
    "retry",
    "suspend",
    "continue",
    "pass_time",
    "take_over",
    "zombie",
]


@dataclass(frozen=True)
class Act:
    """One thing that is done.

    `to` chooses the run or the held phase among those there are; `more` is the play, the key, the
    seconds. The process dies at statement `dies_at` from there on, before or after it.
    """

    doing: Doing
    to: int
    more: int
    dies_at: int = -1
    after: bool = False


KEYS = (None, None, "k")
TO_ANY = 5
DELAYS = (0, 0, 5)
DEADLINES = (None, None, 12)
STARTED = [play for play in PLAYS if play != FIRED]
PAUSED = ("", "", "diamond", "talk", "family", FIRED)
MORE = len(KEYS) * len(DELAYS) * len(DEADLINES)
SECONDS = (1, 2, 5, 8, 10)
DEATHS = [(-1, False)] * 24 + [(at, after) for at in (0, 1, 2, 4) for after in (False, True)]
VERBS: dict[str, Verb] = {
    "cancel": Verb.CANCEL,
    "pause": Verb.PAUSE,
    "resume": Verb.RESUME,
    "retry": Verb.RETRY,
}


def acts(*doing: Doing) -> st.SearchStrategy[Act]:
    """Return acts; one in four kills the process."""
    return st.builds(
        lambda what, to, more, death: Act(what, to, more, *death),
        st.sampled_from(doing),
        st.integers(0, 5),
        st.integers(0, MORE - 1),
        st.sampled_from(DEATHS),
    )


OFTEN: tuple[Doing, ...] = (
    *("finish", "finish", "finish", "finish", "fail", "fail", "signal", "signal", "pass_time"),
)
RARELY: tuple[Doing, ...] = (
    *("submit", "cancel", "pause", "resume", "resume", "retry"),
    *("suspend", "continue", "take_over", "zombie"),
)

SCRIPT = st.builds(
    lambda first, more: [first, *more],
    acts("submit"),
    st.lists(
        acts(*OFTEN, *OFTEN, *RARELY),
        min_size=5,
        max_size=12,
    ),
)


@dataclass
class Deed:
    """An act on its way: what it does, what shows that it is durable, and what the model does.

    `reply` is what the engine answers; only when it `may` be done without RunConflict. Time passes
    also where nobody lives: it lands `always`.
    """

    do: Callable[[Owner], Awaitable[None] | None]
    fact: Callable[[], Awaitable[Any]]
    apply: Callable[[], object]
    reply: Reply[Any] | None = None
    may: bool = True
    always: bool = False
    changes: bool = True
    looks: Callable[[], object] = lambda: None  # what follows from the run being looked at


class Playing:
    """One example: a tenant and its model, side by side."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._model = Model()
        self._crashed = False
        self._serial = 0
        self._ids: dict[str, UUID] = {}

    async def play(self, script: list[Act]) -> None:
        """Do all acts; both agree after each."""
        try:
            await self._stage.begin()
            for act in script:
                await self._act(act)
                await self._compare()
            await self._check_journals()
        finally:
            await self._stage.end()

    # -- acting ------------------------------------------------------------------------

    async def _act(self, act: Act) -> None:
        if act.doing == "take_over":
            await self._stage.owner.stop()
            await self._take_over(Fate(2 * act.dies_at, after=act.after))
        elif act.doing == "zombie":
            await self._outlive(act)
        else:
            deed = self._deed(act, self._stage.owner)
            if deed is not None:
                await self._do(deed, act)

    async def _do(self, deed: Deed, act: Act) -> None:
        owner = self._stage.owner
        dies = act.dies_at >= 0 and not self._paused
        before = await deed.fact() if dies else None
        owner.fate.count, owner.fate.after = 0, act.after
        owner.fate.at = act.dies_at if dies else -1
        await _done(deed, owner)
        await owner.quiet()
        owner.fate.at = -1
        if not owner.dead:
            await _answered(deed)
            deed.looks()
            if deed.may:
                deed.apply()
            self._model.settle()
            return
        await owner.stop()
        landed = await deed.fact() != before
        answered = deed.reply is not None and await _is_well(deed.reply)
        assert landed or not (answered and deed.changes), "answered, and lost"
        never = act.dies_at == 0 and not act.after and not deed.always
        assert not (landed and never), "the dead act"
        if landed:
            deed.apply()
        self._model.settle()
        crashed, self._crashed = not self._crashed, True
        await self._take_over(Fate(), crashed=crashed)

    @property
    def _paused(self) -> bool:
        # What a lost attempt had still done before its end is not known then, and it does not
        # begin again to catch up.
        live = (run for run in self._model.runs.values() if run.state == "live")
        return any(self._model.is_paused(run) for run in live)

    async def _take_over(self, fate: Fate, *, crashed: bool = False) -> None:
        owner = await self._stage.take_over(crashed=crashed, fate=fate)
        if owner.dead:
            await owner.stop()
            owner = await self._stage.take_over()
        assert not owner.dead
        owner.fate.at = -1
        self._model.take_over()
        self._model.settle()

    async def _outlive(self, act: Act) -> None:
        """Let an owner go on that has lost the tenant: nothing of what it does lands."""
        zombie = self._stage.owner
        await self._take_over(Fate())
        before = await self._everything()
        doing: Doing = ("finish", "fail", "submit", "signal", "cancel", "suspend")[act.more % 6]
        deed = self._deed(Act(doing, act.to, act.more), zombie)
        if deed is not None:
            await _done(deed, zombie)
            await zombie.quiet()
            assert deed.reply is None or not await _is_well(deed.reply), "a zombie answered"
        await zombie.stop()
        assert await self._everything() == before, "something of an old epoch has landed"

    # -- deeds -------------------------------------------------------------------------

    def _deed(self, act: Act, owner: Owner) -> Deed | None:
        match act.doing:
            case "submit":
                return self._submit(act)
            case "finish" | "fail":
                return self._end_phase(act, owner)
            case "suspend" | "continue":
                return self._set_pause(PAUSED[act.to], paused=act.doing == "suspend")
            case "pass_time":
                return self._pass_time(SECONDS[act.more % len(SECONDS)])
            case _:
                name = self._target(act.to, "failed" if act.doing == "retry" else "live")
                if name is None:
                    return None
                return self._signal(name) if act.doing == "signal" else self._control(act, name)

    def _target(self, to: int, state: str) -> str | None:
        """Return a run, seldom one that is in another state."""
        runs = [run for run in self._model.runs.values() if run.name in self._ids]
        runs = [run for run in runs if run.play != FIRED]
        usual = [run for run in runs if run.state == state]
        chosen = runs if to == TO_ANY or not usual else usual
        return chosen[to % len(chosen)].name if chosen else None

    def _submit(self, act: Act) -> Deed:
        self._serial += 1
        name, reply = f"r{self._serial}", Reply[list[Started]]()
        play, key = STARTED[act.to % len(STARTED)], KEYS[act.more % len(KEYS)]
        delay = DELAYS[act.more // len(KEYS) % len(DELAYS)]
        within = DEADLINES[act.more // len(KEYS) // len(DELAYS) % len(DEADLINES)]
        known = self._model.known(play, key)
        wanted = StartRun(
            workflow=play,
            input={"name": name},
            key=key,
            delay=f"{delay}s" if delay else None,
            deadline=f"{within}s" if within else None,
        )

        def apply() -> None:
            due = self._model.now + delay
            deadline = due + within if within else None
            if known is None:
                self._model.add(RunModel(name, play, due, key, deadline))

        return Deed(
            lambda owner: owner.engine.submit([wanted], reply),
            lambda: self._count("FROM tenant.wf_run"),
            apply,
            reply,
            changes=known is None,
        )

    def _end_phase(self, act: Act, owner: Owner) -> Deed | None:
        places = sorted(owner.held)
        if not places:
            return None
        run, task, _ = place = places[act.to % len(places)]
        failing = act.doing == "fail"
        error = ConnectionError("as the test says") if failing else None

        def apply() -> None:
            (self._model.fail if failing else self._model.end_phase)(run, task)

        return Deed(
            lambda owner: owner.end_phase(place, error), lambda: self._told(run, task), apply
        )

    def _signal(self, name: str) -> Deed:
        self._serial += 1
        run, reply, number = self._model.runs[name], Reply[None](), self._serial
        sent = Sent(self._ids[name], new_run_id(), "go", None, str(number))
        left = "FROM tenant.wf_signal WHERE id = $1"
        taken = "FROM tenant.wf_event WHERE entries::text LIKE $1"

        async def fact() -> int:
            return await self._count(left, sent.id) + await self._count(taken, f"%{sent.id}%")

        return Deed(
            lambda owner: owner.engine.send(sent, reply),
            fact,
            lambda: run.signals.append(number),
            reply,
            may=run.state == "live",
        )

    def _control(self, act: Act, name: str) -> Deed | None:
        run, reply, verb = self._model.runs[name], Reply[RunState](), VERBS[act.doing]
        if verb is Verb.RETRY and run.play == "family":
            return None  # it would start another child of that name
        late = self._model.is_over_time(run)
        live, failed = run.state == "live" and not late, run.state == "failed" or late
        changes = {
            Verb.CANCEL: live,
            Verb.PAUSE: live and not run.paused,
            Verb.RESUME: live and run.paused,
            Verb.RETRY: failed,
        }[verb]
        known = live or (run.state == "cancelled" and verb is Verb.CANCEL)
        return Deed(
            lambda owner: owner.engine.control(self._ids[name], verb, "", reply),
            lambda: self._told(name),
            partial(self._controlled, run, verb),
            reply,
            may=changes if verb is Verb.RETRY else known,
            changes=changes,
            looks=partial(self._model.look, run),
        )

    def _controlled(self, run: RunModel, verb: Verb) -> None:
        match verb:
            case Verb.CANCEL:
                self._model.cancel(run.name)
            case Verb.RETRY:
                self._model.retry(run.name)
            case _:
                run.paused = verb is Verb.PAUSE

    def _set_pause(self, play: str, *, paused: bool) -> Deed:
        reply, model = Reply[None](), self._model

        def apply() -> None:
            model.paused = model.paused | {play} if paused else model.paused - {play}

        return Deed(
            lambda owner: owner.engine.set_pause(play, reply, paused=paused),
            lambda: self._count("FROM tenant.wf_pause WHERE workflow = $1", play),
            apply,
            reply,
            changes=(play in model.paused) is not paused,
        )

    def _pass_time(self, seconds: int) -> Deed:
        def apply() -> None:
            self._model.now += seconds

        async def fact() -> int:
            return self._stage.now

        return Deed(lambda owner: owner.pass_time(seconds), fact, apply, always=True)

    # -- agreeing ----------------------------------------------------------------------

    async def _compare(self) -> None:
        """Check that the real tenant stands where the model does."""
        stage, model = self._stage, self._model
        assert not stage.broken, stage.broken
        assert set(stage.owner.held) == model.held
        rows = await stage.ask(_RUNS, START)
        self._ids = {name: id for name, id, *_ in rows}
        assert {row[0]: "live" if row[2] else row[3] for row in rows} == model.states
        outputs = {row[0]: msgspec.json.decode(row[4]) for row in rows if row[3] == "succeeded"}
        assert outputs == {name: model.runs[name].output for name in outputs}

    async def _check_journals(self) -> None:
        """Check what every journal has to be, whatever has happened."""
        rows = await self._stage.ask(
            "SELECT run_id, seq, epoch, entries FROM tenant.wf_event ORDER BY run_id, seq"
        )
        taken: list[UUID] = []
        for _, parts in groupby(rows, key=lambda row: row[0]):
            found: list[entries.AnyEntry] = []
            last = 0
            for _, seq, epoch, text in parts:
                assert (seq, epoch >= last) == (len(found), True), "a gap, or an old epoch's"
                last = epoch
                found += entries.decode(text)
            well = [each.task for each in found if isinstance(each, entries.TaskSucceeded)]
            assert len(well) == len(set(well)), "a task has finished twice"
            after_end = [b for a, b in pairwise(found) if isinstance(a, RUN_OVER)]
            assert all(isinstance(b, entries.RunRetried) for b in after_end), "came back to life"
            taken += [each.signal for each in found if isinstance(each, entries.SignalTaken)]
        assert len(taken) == len(set(taken)), "a signal was taken twice"

    async def _everything(self) -> list[Any]:
        query = "SELECT t.*::text FROM {} AS t ORDER BY 1"
        return [await self._stage.ask(query.format(table)) for table in TABLES]

    async def _count(self, of: str, *args: object) -> int:
        ((count,),) = await self._stage.ask(f"SELECT count(*) {of}", *args)
        return int(count)

    async def _told(self, run: str, task: str | None = None) -> int:
        """Return how much is durable of what the test does to a run, or to a task of it."""
        kinds = _OF_RUNS if task is None else _OF_TASKS
        found = [each for each in await self._stage.journal(run) if isinstance(each, kinds)]
        return len([each for each in found if task in {None, getattr(each, "task", None)}])


async def _done(deed: Deed, owner: Owner) -> None:
    rest = deed.do(owner)
    if rest is not None:
        await rest


async def _is_well(reply: Reply[Any]) -> bool:
    """Tell whether an answer is there and no error."""
    if not reply.settled:
        return False
    try:
        await reply.wait()
    except InsulaError:
        return False
    return True


async def _answered(deed: Deed) -> None:
    """Check that an owner who lives has answered as it should."""
    if deed.reply is None:
        return
    assert deed.reply.settled, "no answer"
    try:
        await deed.reply.wait()
    except RunConflict:
        assert not deed.may
    else:
        assert deed.may


_OF_RUNS = (entries.RunCancelled, entries.RunPaused, entries.RunResumed, entries.RunRetried)
_OF_TASKS = (
    entries.StepDone,
    entries.TaskSucceeded,
    entries.TaskFailed,
    entries.TaskRetrying,
)

_RUNS = """
    SELECT coalesce(run.input->>'name', 'fire ' || extract(epoch FROM fire.fire_at - $1)::int),
           run.id, run.finished_at IS NULL, run.state, run.output
    FROM tenant.wf_run AS run LEFT JOIN tenant.wf_fire AS fire ON fire.run_id = run.id
"""
"""All runs by name: those of a schedule are called by their fire."""
