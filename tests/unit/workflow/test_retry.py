"""Retry policies: what they accept, how long they rest, what they retry."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.retry import Fail, Retry

BACKOFFS = st.sampled_from(["fixed", "linear", "exponential"])
CHANCE = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        ("fixed", [2, 2, 2, 2, 2, 2]),
        ("linear", [2, 4, 6, 8, 10, 10]),
        ("exponential", [2, 4, 8, 10, 10, 10]),
    ],
)
@pytest.mark.requirement("R4.backoff")
def test_rests_grow_by_the_backoff_up_to_the_cap(backoff: Any, seconds: list[int]) -> None:
    retry = Retry(attempts=9, backoff=backoff, initial="2s", cap="10s")
    rests = [retry.delay(failures, chance=0).total_seconds() for failures in range(1, 7)]
    assert rests == seconds


@given(BACKOFFS, st.integers(1, 10_000), CHANCE, st.floats(0, 1))
@pytest.mark.requirement("R4.backoff")
def test_a_rest_is_never_over_the_cap_nor_cut_by_more_than_the_jitter(
    backoff: Any, failures: int, chance: float, jitter: float
) -> None:
    retry = Retry(backoff=backoff, initial="3s", cap="1m", jitter=jitter)
    whole = retry.delay(failures, chance=0)
    slack = timedelta(microseconds=1)
    assert timedelta(seconds=3) <= whole <= timedelta(minutes=1)
    assert whole * (1 - jitter) - slack <= retry.delay(failures, chance=chance) <= whole


@given(BACKOFFS, st.integers(1, 500))
def test_without_jitter_rests_never_shrink(backoff: Any, failures: int) -> None:
    retry = Retry(backoff=backoff, initial="10ms", cap="1h", jitter=0)
    assert retry.delay(failures, chance=0.9) <= retry.delay(failures + 1, chance=0.1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"backoff": "expontential"}, "backoff is one of fixed, linear, exponential; got 'expon"),
        ({"attempts": 0}, "attempts counts the first try"),
        ({"attempts": -1}, "attempts counts the first try"),
        ({"attempts": 2.5}, "attempts counts the first try"),
        ({"attempts": "3"}, "attempts counts the first try"),
        ({"jitter": -0.1}, "jitter is a share between 0 and 1"),
        ({"jitter": 1.1}, "jitter is a share between 0 and 1"),
        ({"jitter": float("nan")}, "jitter is a share between 0 and 1"),
        ({"jitter": "a lot"}, "jitter is a share between 0 and 1"),
        ({"initial": "soon"}, "initial: 'soon' is not a duration"),
        ({"initial": 5}, "initial: 5 is not a duration"),
        ({"cap": ""}, "cap: '' is not a duration"),
        ({"cap": "9000w"}, "cap: a task rests for at most 366 days"),
        ({"initial": "367d"}, "initial: a task rests for at most 366 days"),
        ({"on": ("ValueError",)}, "on names exception classes"),
        ({"on": (ValueError, 1)}, "on names exception classes"),
        ({"on": "ValueError"}, "on names exception classes"),
    ],
)
def test_what_is_unknown_or_out_of_bounds_is_refused(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        Retry(**options)
    assert str(refused.value).startswith(sentence)


@pytest.mark.requirement("R4.options")
def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="retry_backoff"):
        Retry(retry_backoff="fixed")  # type: ignore[call-arg]


@pytest.mark.requirement("R4.exceptions")
def test_only_the_named_exceptions_are_retried_and_fail_never() -> None:
    some = Retry(attempts=3, on=(OSError, KeyError))
    assert [some.covers(e) for e in (ConnectionError(), KeyError(), ValueError())] == [
        True,
        True,
        False,
    ]
    assert not some.covers(Fail("no"))
    assert not Retry(attempts=3).covers(Fail("no"))
    assert not Retry(attempts=3, on=(Fail,)).covers(Fail("no"))
    assert not Retry(attempts=3).covers(KeyboardInterrupt())


def test_one_exception_class_may_stand_alone() -> None:
    assert Retry(on=OSError).covers(TimeoutError())  # type: ignore[arg-type]
