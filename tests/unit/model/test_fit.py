"""What does not fit is told with its path, at a cost that no body drives up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orchestrator.model.api import StartRun, StartRuns
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.fit import MOST, fit


class Calls:
    """Counts what is converted, one value each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._convert = msgspec.convert
        monkeypatch.setattr(msgspec, "convert", self)

    def __call__(self, value: Any, shape: Any) -> Any:
        self.count += 1
        return self._convert(value, shape)


def problems(value: Any, shape: Any) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        fit(value, shape)
    found: list[str] = caught.value.data["problems"]
    return found


def test_each_item_that_does_not_fit_is_told() -> None:
    runs: list[dict[str, Any]] = [{"workflow": "w"} for _ in range(2_000)]
    runs[7] = {"workflow": "", "tags": ["a", ""]}
    runs[1_999] = {}

    assert problems({"runs": runs}, StartRuns) == [
        "`$.runs[7].workflow`: Expected `str` of length >= 1",
        "`$.runs[7].tags[1]`: Expected `str` of length >= 1",
        "`$.runs[1999].workflow`: it is required",
    ]


@pytest.mark.parametrize(
    ("value", "shape", "told"),
    [
        ({"runs": [{}] * 10_000}, StartRuns, MOST + 1),
        ({"runs": [{}] * 100_000}, StartRuns, 1),
        ({"runs": [{"workflow": "w"}] * 9_999 + [{}]}, StartRuns, 1),
        ({"workflow": "w", "tags": [""] * 100_000}, StartRun, 1),
        ({"workflow": "w", **{f"f{n}": 1 for n in range(10_000)}}, StartRun, MOST + 1),
    ],
    ids=["all", "too many", "the last", "tags", "fields"],
)
def test_a_large_body_that_does_not_fit_costs_little(
    value: Any, shape: Any, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)

    assert len(problems(value, shape)) == told

    assert calls.count < 2_000


def test_a_name_without_end_is_told_in_short() -> None:
    (problem,) = problems({"workflow": "w", "x" * 10**6: 1}, StartRun)

    assert len(problem) < 200
