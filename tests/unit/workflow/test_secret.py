"""The value that a task gets, without any engine."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest

from orchestrator.model.errors import SecretNotFound
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.secret import Revealed, Secret
from orchestrator.workflow.testing import run_sync

PLAIN = "hush-hush"


def test_it_shows_itself_only_when_asked_to() -> None:
    secret = Secret("api_key", PLAIN)

    assert secret.reveal() == PLAIN
    for text in (str(secret), repr(secret), f"{secret}", f"{[secret]}"):
        assert "api_key" in text
        assert PLAIN not in text


@pytest.mark.parametrize("way", [msgspec.json.encode, pickle.dumps, copy.deepcopy])
def test_it_has_no_form_that_could_be_stored(way: object) -> None:
    with pytest.raises(TypeError) as refused:
        way(Secret("api_key", PLAIN))  # type: ignore[operator]
    assert PLAIN not in str(refused.value)


async def test_a_unit_test_gives_secrets() -> None:
    ctx = Context(secrets={"api_key": PLAIN})

    assert (await ctx.secret("api_key")).reveal() == PLAIN
    with pytest.raises(SecretNotFound, match="'other'"):
        await ctx.secret("other")


def test_the_kit_gives_secrets_and_finds_what_leaks() -> None:
    flow = Workflow("pay")

    @flow.task()
    async def use(ctx: Context) -> int:
        return len((await ctx.secret("api_key")).reveal())

    @flow.task(after=[use])
    async def leak(ctx: Context) -> str:
        return (await ctx.secret("api_key")).reveal()

    done = run_sync(flow, secrets={"api_key": PLAIN})

    assert done.tasks["use"].output == len(PLAIN)
    assert done.error is not None
    assert done.error.type == "SecretLeaked"


def test_a_short_value_is_not_looked_for() -> None:
    revealed = Revealed()
    revealed.add("pin", "12345")

    assert revealed.found_in(b"12345") is None
    assert not revealed


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_nothing_is_left_of_a_secret_that_begins_with_another(names: tuple[str, str]) -> None:
    values, revealed = {"a": "hush-hush", "b": "hush-hush-and-more"}, Revealed()
    for name in names:
        revealed.add(name, values[name])

    assert revealed.hide("hush-hush-and-more, hush-hush") == "[secret b], [secret a]"
