"""What a task takes from the input: read from its signature, checked, decoded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import pytest

from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.parameters import Parameters


@dataclass
class Point:
    """A type of a user's."""

    x: int
    y: int = 0


class Box(msgspec.Struct):
    """Another, with a bound in it."""

    corners: list[Point]
    kind: Literal["open", "closed"] = "open"


def everything(
    ctx: Any,
    day: date,
    point: Point,
    *,
    count: int = 3,
    box: Box | None = None,
    loose: Any = None,
) -> None:
    """Take one of each."""


PARAMETERS = Parameters.of(everything, "here")


def test_the_context_is_not_a_parameter_and_defaults_are_not_required() -> None:
    assert list(PARAMETERS.types) == ["day", "point", "count", "box", "loose"]
    assert PARAMETERS.required == {"day", "point"}


def test_values_are_decoded_to_their_annotations() -> None:
    given = {
        "day": "2026-01-31",
        "point": {"x": 1},
        "box": {"corners": [{"x": 1, "y": 2}]},
        "loose": [1],
        "ignored": 1,
    }
    assert PARAMETERS.problems(given) == []
    assert PARAMETERS.decode(given) == {
        "day": date(2026, 1, 31),
        "point": Point(1),
        "box": Box([Point(1, 2)]),
        "loose": [1],
    }


@pytest.mark.requirement("R1.input")
def test_every_problem_is_told_with_its_path() -> None:
    given = {
        "point": {"x": "one"},
        "count": 1.5,
        "box": {"corners": [{"x": 1}, {"y": 2}], "kind": "ajar"},
    }
    assert PARAMETERS.problems(given) == [
        "$.day: is required",
        "$.point.x: Expected `int`, got `str`",
        "$.count: Expected `int`, got `float`",
        "$.box.corners[1]: Object missing required field `x`",
    ]


def test_bounds_in_an_annotation_hold() -> None:
    def bounded(
        ctx: Any,
        count: Annotated[int, msgspec.Meta(ge=1)],
        names: list[Annotated[str, msgspec.Meta(pattern="^[a-z]+$")]],
    ) -> None:
        """Take what has bounds."""

    parameters = Parameters.of(bounded, "task 'bounded'")

    assert parameters.problems({"count": 1, "names": ["a"]}) == []
    assert parameters.problems({"count": 0, "names": ["a", "B"]}) == [
        "$.count: Expected `int` >= 1",
        "$.names[1]: Expected `str` matching regex '^[a-z]+$'",
    ]


def test_null_is_a_value_and_not_an_absence() -> None:
    given = {"day": None, "point": {"x": 1}}
    assert PARAMETERS.problems(given) == ["$.day: Expected `date`, got `null`"]


def no_context() -> None:
    """Take nothing at all."""


def only_keywords(**given: Any) -> None:
    """Take no positional argument."""


def keyword_context(*, ctx: Any) -> None:
    """Take the context by name."""


def positional(ctx: Any, file: str, /) -> None:
    """Take a parameter that has no name."""


def variadic(ctx: Any, *files: str) -> None:
    """Take any number."""


def open_ended(ctx: Any, **given: Any) -> None:
    """Take anything."""


def unresolved(ctx: Any, file: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take a type that does not exist."""


def ambiguous(ctx: Any, items: list[int] | set[int]) -> None:
    """Take a type that JSON can not tell apart."""


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (no_context, "here: the first parameter is the context"),
        (only_keywords, "here: the first parameter is the context"),
        (keyword_context, "here: the first parameter is the context"),
        (positional, "here: parameter 'file' can not be taken from the input by name"),
        (variadic, "here: parameter 'files' can not be taken from the input by name"),
        (open_ended, "here: parameter 'given' can not be taken from the input by name"),
        (unresolved, "here: an annotation can not be resolved: name 'Nowhere'"),
        (ambiguous, "here: parameter 'items' is of no type that JSON has: Type"),
    ],
)
def test_what_can_not_be_filled_by_name_is_refused(function: Any, sentence: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Parameters.of(function, "here")
    assert str(refused.value).startswith(sentence)


class Fussy(msgspec.Struct):
    """A type of a user's whose own check raises what msgspec does not expect."""

    how: str

    def __post_init__(self) -> None:
        raise {"key": KeyError(self.how), "exit": SystemExit(self.how)}[self.how]


@pytest.mark.parametrize(("how", "said"), [("key", "KeyError"), ("exit", "SystemExit")])
def test_a_type_whose_own_check_breaks_is_a_problem_of_the_input(how: str, said: str) -> None:
    def fussy(ctx: Any, x: Fussy) -> None:
        """Take one."""

    parameters = Parameters.of(fussy, "task 'fussy'")

    assert parameters.problems({"x": {"how": how}}) == [f"$.x: its type raised {said}"]


class Own:
    """A class of a user's that no JSON makes."""


def test_a_type_that_no_json_makes_is_an_error_of_the_definition() -> None:
    def wrong(ctx: Any, items: list[Own]) -> None:
        """Take what can never be given."""

    def right(ctx: Any, anything: object) -> None:
        """Take all there is."""

    with pytest.raises(DefinitionError, match="parameter 'items' is of no type that JSON has: Own"):
        Parameters.of(wrong, "task 'wrong'")
    assert Parameters.of(right, "task 'right'").problems({"anything": [1]}) == []
