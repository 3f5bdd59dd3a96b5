"""What an attempt came to: encoded, described, bounded, decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.entries import NOTHING, TaskFailed, TaskRetrying, decode, encode
from orchestrator.engine.outcome import (
    MESSAGE_CHARACTERS,
    TRACEBACK_CHARACTERS,
    Attempt,
    Failed,
    after_failure,
    describe,
    failed,
    succeeded,
)
from orchestrator.workflow.retry import Fail, Retry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAN, INFINITY = float("nan"), float("inf")
TEXT = st.text(st.characters(exclude_categories=[]), max_size=50)
"""Any text that Python has, NULs and lone surrogates included."""


@dataclass
class Mean:
    """A value of a user's own type."""

    mean: float | None


class Silent(Exception):
    """An exception that can not be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def caught(error: BaseException) -> BaseException:
    """Return the error with a traceback."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001 - the tests pass all kinds
        return raised


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"mean": None, "rows": [1.5, None]}, '{"mean":null,"rows":[1.5,null]}'),
        (Mean(2.5), '{"mean":2.5}'),
        (datetime(2026, 1, 1, tzinfo=UTC), '"2026-01-01T00:00:00Z"'),
        ("null and NaN", '"null and NaN"'),
    ],
)
def test_a_value_is_stored_as_json(value: Any, text: str) -> None:
    assert bytes(succeeded(value, {}).output).decode() == text
    assert succeeded(value, {}).values is NOTHING
    assert bytes(succeeded(None, {"x": value}).values).decode() == f'{{"x":{text}}}'


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (NAN, "$: nan"),
        ([1.0, {"mean": -INFINITY}], "$[1].mean: -inf"),
        ({"rows": [None, 1, INFINITY]}, "$.rows[2]: inf"),
        (Mean(NAN), "$.mean: nan"),
        ((None, Mean(INFINITY)), "$[1].mean: inf"),
    ],
)
def test_a_number_that_json_does_not_have_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(ValueError, match="JSON has no number") as refused:
        succeeded(value, {})
    assert str(refused.value).startswith(f"the output has {path}")
    with pytest.raises(ValueError, match="JSON has no number") as refused:
        succeeded(1, {"x": value})
    assert str(refused.value).startswith(f"the context has $.x{path[1:]}")


@pytest.mark.parametrize(
    "value", [object(), "\ud800", {1j: 2}, print, {"x": b"\xff", "y": {3: {}}}]
)
def test_what_has_no_json_form_is_an_error_of_the_attempt(value: Any) -> None:
    if isinstance(value, dict) and "y" in value:
        assert msgspec.json.decode(succeeded(value, {}).output)["y"] == {"3": {}}
        return
    with pytest.raises((TypeError, ValueError)):
        succeeded(value, {})


def nested(depth: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_nested_too_deep_to_be_read_again_is_refused() -> None:
    below(50, succeeded(nested(100), {"x": nested(100)}).values)
    for depth in range(120, 1200, 20):
        try:
            stored = succeeded(nested(depth), {})
        except (ValueError, RecursionError):
            continue
        below(50, stored.output)


def below(frames: int, text: msgspec.Raw) -> Any:
    """Decode with less of the stack left than there was for the encoder."""
    return below(frames - 1, text) if frames else msgspec.json.decode(text)


def test_an_exception_is_told_by_type_message_and_traceback() -> None:
    error = describe(caught(KeyError("carrier")), "load")
    assert (error.type, error.message, error.task) == ("KeyError", "'carrier'", "load")
    assert error.traceback is not None
    assert error.traceback.startswith("Traceback (most recent call last)")
    assert error.traceback.endswith("KeyError: 'carrier'\n")


def test_an_exception_without_a_message_is_told_by_its_type() -> None:
    assert describe(ValueError()).message == "ValueError"


def test_an_exception_that_can_not_be_told_is_an_error_like_any_other() -> None:
    error = describe(caught(Silent()), "load")
    assert (error.type, error.message) == ("Silent", "Silent, whose message can not be read")


def dig(depth: int) -> Exception:
    """Return an error with a long message from `depth` frames down."""
    if depth:
        return dig(depth - 1)
    return ValueError("start " + "x" * 10_000_000)


@pytest.mark.requirement("R14.bounded")
def test_a_huge_error_is_cut_at_both_texts_and_keeps_what_matters() -> None:
    error = describe(caught(dig(200)))
    assert len(error.message) == MESSAGE_CHARACTERS
    assert error.message.startswith("start x")
    assert len(error.traceback or "") == TRACEBACK_CHARACTERS


def test_a_chain_of_a_thousand_causes_is_told_in_bounds() -> None:
    error: Exception = ValueError("first")
    for number in range(3000):
        following = ValueError(f"number {number}")
        following.__cause__ = error
        error = following
    assert len(describe(error).traceback or "") <= TRACEBACK_CHARACTERS


@given(TEXT, TEXT)
def test_any_text_can_be_stored_and_read_again(message: str, name: str) -> None:
    try:
        kind = type(name or "E", (Exception,), {})
    except (ValueError, UnicodeEncodeError):
        kind = ValueError
    error = describe(caught(kind(message)), "load")
    text = encode([TaskFailed(task="load", attempt=1, error=error)])
    assert "\0" not in text
    (entry,) = decode(text)
    assert isinstance(entry, TaskFailed)
    assert entry.error == error
    assert "\0" not in entry.error.message


@given(st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_an_attempt_follows_while_there_are_any_left(
    attempts: int, failures: int, retryable: bool
) -> None:
    policy = Retry(attempts=attempts, backoff="fixed", initial="10s", jitter=0)
    outcome = Failed(describe(ValueError("x")), retryable)
    entry = after_failure(Attempt("load", 9, failures), outcome, policy, now=NOW, chance=0.5)
    if retryable and failures < attempts:
        assert isinstance(entry, TaskRetrying)
        assert entry.due_at == NOW + timedelta(seconds=10)
    else:
        assert isinstance(entry, TaskFailed)
    assert (entry.task, entry.attempt) == ("load", 9)


def test_what_no_retry_can_help_is_not_retried() -> None:
    policy = Retry(attempts=5)
    assert not failed(Fail("no"), "load", policy).retryable
    assert failed(ValueError("no"), "load", policy).retryable


def test_an_output_that_was_not_awaited_is_told_as_such() -> None:
    async def answer() -> int:
        return 42

    forgotten = answer()
    with pytest.raises(TypeError, match="it is a coroutine, so an `await` is missing"):
        succeeded(forgotten, {})
    forgotten.close()
