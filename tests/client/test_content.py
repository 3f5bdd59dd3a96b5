"""What a client refuses to send, before it looks for a daemon."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.client.client import SyncClient
from orchestrator.client.content import encode
from orchestrator.client.sync import SyncTenantClient
from orchestrator.model.api import StartRun, StartRuns
from orchestrator.model.errors import InsulaError, InvalidInput, InvalidRequest

Act = Callable[[SyncTenantClient], Any]
NOWHERE = "unix:///nowhere/insula.sock"
RUN = "00000000-0000-0000-0000-000000000000"
ITSELF: list[Any] = []
ITSELF.append(ITSELF)


def refused(act: Act) -> InsulaError:
    """Do `act`, where sending anything would be DaemonUnreachable."""
    with SyncClient(NOWHERE, retries=0) as client, pytest.raises(InsulaError) as caught:
        act(client.tenant("acme_corp"))
    return caught.value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), ".x: nan, and JSON has no number for it"),
        (float("-inf"), ".x: -inf, and JSON has no number for it"),
        (object(), "Encoding objects of type object"),
        ({(1, 2): 3}, "has no JSON form"),
        pytest.param(10**5000, "integer string conversion", id="a huge number"),
        ("\ud800", "half of a character"),
        ("a\0", "has a NUL character"),
        ({"a\0": 1}, "has a NUL character"),
        (ITSELF, "is nested too deep, or holds itself"),
    ],
)
def test_a_value_that_json_or_the_database_can_not_hold_is_not_sent(
    value: object, problem: str
) -> None:
    acts: list[Act] = [
        lambda tenant: tenant.start("report", {"x": value}),
        lambda tenant: tenant.start_many([StartRun(workflow="report", input={"x": value})]),
        lambda tenant: tenant.handle(RUN).signal("go", {"x": value}),
    ]
    for error in map(refused, acts):
        assert isinstance(error, InvalidInput)
        assert problem in str(error)


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (lambda tenant: tenant.start("a\x1b"), "`$.workflow`: it has a control character"),
        (lambda tenant: tenant.start(7), "`$.workflow`: Expected `str`"),
        (lambda tenant: tenant.start("a", key=""), "`$.key`: Expected `str` of length >= 1"),
        (lambda tenant: tenant.start("a", priority=10), "`$.priority`: Expected `int` <= 9"),
        (lambda tenant: tenant.start("a", tags=["x", "y\n"]), "`$.tags[1]`: it has a control"),
        (lambda tenant: tenant.start("a", tags="xy"), "`$.tags`: Expected `array`, got `str`"),
        (lambda tenant: tenant.start("a", [1]), "`$.input`: Expected `object`, got `array`"),
        (lambda tenant: tenant.pause("a\n"), "`$.workflow`: it has a control character"),
        (lambda tenant: tenant.handle(RUN).cancel(reason="a\nb"), "`$.reason`: it has a control"),
        (lambda tenant: tenant.handle(RUN).signal("a/b"), "'a/b' can not be an id or name"),
        (lambda tenant: tenant.handle(RUN).signal("a\x1b"), "can not be an id or name"),
        (lambda tenant: tenant.handle(RUN).signal("a", key="k\r\n"), "the key is not printable"),
        (lambda tenant: tenant.schedule("..").fire(), "'..' can not be an id or name"),
        (lambda tenant: tenant.start_many([]), "`$.runs`: Expected `array` of length >= 1"),
    ],
)
def test_a_name_that_the_daemon_would_refuse_is_not_sent(act: Act, problem: str) -> None:
    error = refused(act)

    assert isinstance(error, InvalidRequest)
    assert problem in str(error)


@pytest.mark.parametrize("id", ["", ".", "..", "a/b"])
def test_an_id_that_would_lead_to_another_route_is_not_sent(id: str) -> None:
    with SyncClient(NOWHERE, retries=0) as client, pytest.raises(InvalidRequest, match="an id or"):
        client.tenant(id).show()


def test_a_token_that_no_header_carries_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidRequest, match="the token is not printable ASCII") as caught:
        SyncClient(NOWHERE, token="sécret")

    assert "cret" not in str(caught.value)


def test_ten_thousand_runs_go_into_one_call() -> None:
    runs = [StartRun(workflow="a")] * 10_000

    assert encode(StartRuns(runs=runs)).count(b"workflow") == 10_000


def test_whatever_has_a_json_form_is_sent_as_it_is() -> None:
    assert encode({1: Decimal("1.5"), "n": 2**70}) == b'{"1":"1.5","n":1180591620717411303424}'
