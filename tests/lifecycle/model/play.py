"""Does the acts of a script to an installation and to its model, and sees that both agree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

from orchestrator.model.errors import InsulaError, LeaseHeldElsewhere, TenantHeld, Unavailable
from tests.lifecycle.model.acts import VERBS, Act, Asked, Verb
from tests.lifecycle.model.lives import ERASED, Life, Model, Refused
from tests.lifecycle.model.sight import Sight
from tests.lifecycle.model.stage import Server, Stage
from tests.support.steps import Steps, stepping
from tests.support.wait import until

T = TypeVar("T")
DONE = "done"
SETTLE_SECONDS = 10.0
PATIENCE_SECONDS = 30.0


class Playing:
    """One example: an installation without tenants but the bystander, and its model."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sight = Sight(stage)
        self._model = Model()
        self._serial = 0
        self._told: list[str] = []

    async def play(self, script: list[Act]) -> None:
        """Do all acts; both agree after each, and nothing is left in the end."""
        try:
            before = await self._sight.bystander()
            for act in script:
                await self._act(act)
                touched = before.items() ^ (await self._sight.bystander()).items()
                assert not touched, f"a bystander is touched: {touched}"
            await self._examine()
            await self._clean()
        except BaseException as error:
            error.add_note("\n".join(self._told))
            raise

    # -- acting ------------------------------------------------------------------------

    async def _act(self, act: Act) -> None:
        verb, server = VERBS[act.verb], self._stage.servers[act.via]
        name = Asked.named(act, self._model)
        if verb.engine:
            server = await self._sight.owner(self._model.id_of(name)) or server
        asked = await self._asked(act, name, server)
        if not verb.may(asked):
            return
        await self._stage.look()
        self._model.keyed = await self._sight.keyed()
        after, wanted = self._foreseen(verb, asked)
        if (act.cut or server.shaken) and not verb.engine:
            await self._cut(verb, asked, after, wanted, server)
            return
        since = await self._sight.last_entry()
        code = await _code(verb, asked)
        self._tell(asked, code, wanted)
        assert code == wanted, f"{act}: {code}, not {wanted}"
        if not verb.engine:
            told = await self._sight.outcomes(since, verb.operation)
            # Who was not there is in no audit, and a renamed tenant has it under both ids.
            assert set(told) <= {code}, told
            assert len(told) <= 1 + (act.verb == "rename"), told
            assert told or code != DONE
        await self._agree(after)

    async def _asked(self, act: Act, name: str, server: Server) -> Asked:
        self._serial += 1
        label, directory = f"s{self._serial}", self._stage.directory
        reload = self._stage.reload
        asked = Asked(act, name, server.client, self._model, directory, reload, label)
        if act.verb == "signal":
            life = self._model.lives.get(self._model.id_of(name))
            runs = life.content.runs if life is not None and life.state == "provisioned" else {}
            waits = [k for k, r in runs.items() if (r.workflow, r.state, r.heard) == _WAITS]
            if waits:
                asked.heard = waits[act.more % len(waits)]
                ids = await self._sight.run_ids(server, self._model.id_of(name))
                asked.run = ids[asked.heard]
        return asked

    def _foreseen(self, verb: Verb, asked: Asked) -> tuple[Model, str]:
        after, code = deepcopy(self._model), DONE
        try:
            verb.apply(asked, after)
        except Refused as refused:
            code = str(refused)
        after.settle()
        return after, code

    async def _cut(
        self, verb: Verb, asked: Asked, after: Model, wanted: str, server: Server
    ) -> None:
        """Do an act in which its node loses its connections."""
        act = asked.act
        steps, shaken = Steps(act.cut, server.proxy.go_away), server.shaken
        with stepping(steps):
            code = await asyncio.create_task(_code(verb, asked))
        self._tell(asked, f"{code} after {steps.seen} waits", wanted)
        if steps.acted and act.dies:
            await server.die()
            await server.start()
            await server.verbs.resume()
        elif steps.acted:
            await server.recover()
            await server.verbs.tidy()
        if not steps.acted:
            # What it has lost before it may notice only now.
            assert code == wanted or (shaken and code == "database_unavailable"), f"{act}: {code}"
            server.shaken = shaken and code != DONE
        if code in {DONE, wanted}:
            await self._agree(after)
        elif await self._sight.resumable():
            await self._again(verb, asked, after)
        else:
            # Of a backup that was refused there is no file.
            done = [] if act.verb == "backup" else [after]
            await self._agree(*done, self._partly(asked, after), self._model)

    def _partly(self, asked: Asked, after: Model) -> Model:
        """Return the model as it is when a verb got no further than to a tenant with tables."""
        found, id = deepcopy(self._model), self._model.id_of(asked.name)
        if id in found.lives and id in after.lives and after.lives[id].state == "provisioned":
            found.lives[id].state = "provisioned"
        return found

    async def _again(self, verb: Verb, asked: Asked, after: Model) -> None:
        """Have a verb end that says of itself that it has begun."""
        assert not asked.act.dies, "a node that starts ends what has begun"
        asked.client = self._stage.servers[1 - asked.act.via].client
        # What is not served any more has its id alone.
        asked.name = self._model.id_of(asked.name)
        code = await _code(verb, asked)
        self._tell(asked, f"again: {code}", DONE)
        assert code == DONE, code
        await self._agree(after)

    def _tell(self, asked: Asked, code: str, wanted: str) -> None:
        foreseen = "" if code == wanted else f" ({wanted})"
        self._told.append(f"{asked.act} {asked.name}: {code}{foreseen}")

    # -- agreeing ----------------------------------------------------------------------

    async def _agree(self, *models: Model) -> None:
        """Wait until the installation is as one of the models, which is the model then."""
        seen: dict[str, Any] = {}

        async def agreeing() -> list[Model]:
            nonlocal seen
            seen = await self._sight.all(self._stage.servers[0])
            return [model for model in models if seen == _as_seen(model)]

        try:
            self._model, *_ = await until(agreeing, within=SETTLE_SECONDS)
        except AssertionError:
            wanted = " or ".join(str(_as_seen(model)) for model in models)
            raise AssertionError(f"it is\n{seen}\nand not\n{wanted}") from None
        if models[-1] is not models[0]:
            await self._sight.note_dropped(self._model)
        faults = await self._sight.faults(self._model)
        assert not faults, faults

    async def _examine(self) -> None:
        """Have every tenant that can tell its secret."""
        await self._stage.look()
        for id, life in self._model.lives.items():
            server = await self._sight.owner(id) or self._stage.servers[1]
            tenant = server.client.tenant(id)
            if not self._model.is_served(id):
                continue
            if life.state == "archived":
                await _patiently(tenant.archives.unarchive)
            if life.disabled:
                await _patiently(tenant.lifecycle.enable)
            await _patiently(tenant.resume)
            reveal = partial(tenant.start, "reveal", {"label": "token"})
            run = await (await _patiently(reveal)).result(timeout=10)
            if life.content.secrets.get("token") == ERASED:
                assert run.error is not None, f"{id} has what was erased"
                continue
            assert run.output == life.content.secrets.get("token"), f"{id}: {run.state} {run.error}"

    async def _clean(self) -> None:
        """Erase all, by force; nothing is left of them."""
        client = self._stage.servers[0].client
        await self._stage.reload(set())
        await self._stage.look()
        for id in [*self._model.lives]:
            await _patiently(partial(client.tenant(id).lifecycle.erase, force=True))
        await self._agree(Model(left=self._model.left))
        self._stage.forget_archives()


_WAITS = ("listen", "live", None)


async def _code(verb: Verb, asked: Asked) -> str:
    try:
        await (_patiently(lambda: verb.ask(asked)) if verb.engine else verb.ask(asked))
    except InsulaError as error:
        return error.code
    return DONE


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask an owner that may have lost its connections, or the tenant, just now."""
    answers: list[T] = []

    async def answered() -> bool:
        try:
            answers.append(await ask())
        except (Unavailable, LeaseHeldElsewhere) as error:
            if isinstance(error, TenantHeld):
                raise
        return bool(answers)

    await until(answered, within=PATIENCE_SECONDS)
    return answers[0]


def _as_seen(model: Model) -> dict[str, Any]:
    return {id: _life(life, model.is_served(id)) for id, life in model.lives.items()}


def _life(life: Life, served: bool) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "state": life.state,
        "shard": life.shard,
        "kept": life.kept and life.kept[0],
        "disabled": life.disabled,
        "source": life.source,
        "tokens": life.tokens,
        "aliases": sorted(life.aliases),
    }
    if served and life.state != "archived":
        runs = {k: (run.state, run.output) for k, run in life.content.runs.items()}
        seen |= {"runs": runs, "secrets": life.content.secrets}
    return seen
