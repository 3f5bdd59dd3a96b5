"""How errors cross the HTTP edge."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import httpx
import pytest

from orchestrator.http.status import STATUS
from orchestrator.model import errors
from orchestrator.model.errors import InsulaError
from tests.http.platform import SECRET, HandMadePlatform

RUNS = "/v1/tenants/acme_corp/runs"


def every_class(root: type[InsulaError] = InsulaError) -> Iterator[type[InsulaError]]:
    """Yield the classes of the tree; one drawn elsewhere is treated as its parent."""
    if root.__module__ == errors.__name__:
        yield root
    for child in root.__subclasses__():
        yield from every_class(child)


def test_every_error_has_a_status() -> None:
    assert set(every_class()) == STATUS.keys()


def test_an_error_of_ours_keeps_code_sentence_hint_and_data(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.refuse = errors.TenantSuspended("acme_corp")

    answer = api.post(RUNS, json={"workflow": "slow"})

    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "code": "tenant_suspended",
        "detail": "tenant 'acme_corp' is disabled",
        "hint": "set enabled = true in its file and reload",
        "data": {"tenant": "acme_corp"},
    }


@pytest.mark.parametrize(
    ("refusal", "status", "seconds"),
    [
        (errors.TenantBusy("full", retry_after=0.05), 429, "1"),
        (errors.TenantQuarantined("sick", retry_after=12.3), 503, "13"),
        (errors.LeaseLost("acme_corp", "taken over"), 503, "1"),
        (
            errors.QuotaExceeded(
                "acme_corp", limit="max_runs_per_hour", allowed=9, retry_after=1800
            ),
            429,
            "1800",
        ),
        (errors.QuotaExceeded("acme_corp", limit="max_queue_length", allowed=9), 429, "60"),
    ],
)
def test_who_should_try_again_is_told_when(
    api: httpx.Client,
    platform: HandMadePlatform,
    refusal: InsulaError,
    status: int,
    seconds: str,
) -> None:
    platform.refuse = refusal

    answer = api.post(RUNS, json={"workflow": "slow"})

    assert (answer.status_code, answer.headers["Retry-After"]) == (status, seconds)


def test_an_unexpected_error_keeps_its_details_for_the_log(
    api: httpx.Client, platform: HandMadePlatform, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.refuse = RuntimeError(SECRET)

    answer = api.post(RUNS, json={"workflow": "slow"})

    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert SECRET in capsys.readouterr().out


def test_data_that_json_has_no_word_for_becomes_text(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.refuse = errors.RunRefused("no", data={"cause": ValueError("odd")})

    answer = api.post(RUNS, json={"workflow": "slow"})

    assert (answer.status_code, answer.json()["data"]) == (422, {"cause": "odd"})


def test_a_wrong_method_says_so(api: httpx.Client) -> None:
    answer = api.put(RUNS, json={})

    assert answer.status_code == 405
    assert answer.json()["detail"] == f"there is no PUT {RUNS}"
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        (RUNS, {"workflow": "a\x1b"}, "`$.workflow`: it has a control character"),
        (RUNS, {"workflow": "a", "key": "k\n"}, "`$.key`: it has a control character"),
        (RUNS, {"workflow": "a", "tags": ["x", "\x9b"]}, "`$.tags[1]`: it has a control character"),
        (RUNS, {"runs": [{"workflow": "a\0"}]}, "`$.runs[0].workflow`: it has a control character"),
        ("/v1/tenants/acme_corp/pause", {"workflow": "\r"}, "`$.workflow`: it has a control"),
        (f"{RUNS}/{UUID(int=0)}/cancel", {"reason": "a\nb"}, "`$.reason`: it has a control"),
    ],
)
def test_control_characters_are_refused_by_path(
    api: httpx.Client, path: str, body: object, problem: str
) -> None:
    answer = api.post(path, json=body)

    assert answer.status_code == 422
    assert answer.json()["data"]["problems"][0].startswith(problem)


def test_the_name_of_a_signal_is_one_line(api: httpx.Client) -> None:
    answer = api.post(f"{RUNS}/{UUID(int=0)}/signals/a%1Bb", json=None)

    assert answer.status_code == 422
