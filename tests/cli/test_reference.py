"""The reference pages tell what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from orchestrator.cli import reference
from tests.http.serving import Served

PAGES = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize(
    ("name", "written"),
    [("cli.md", reference.cli_page), ("errors.md", reference.errors_page)],
)
def test_a_written_page_is_up_to_date(name: str, written: object) -> None:
    assert callable(written)
    assert (PAGES / name).read_text() == written(), "run `make docs`"


def test_the_page_of_the_http_api_has_every_route(served: Served) -> None:
    schema = httpx.get(
        f"{served.tcp}/schema/openapi.json", headers=served.operator, trust_env=False
    ).json()
    served_routes = {
        f"{method.upper()} {path}" for path, each in schema["paths"].items() for method in each
    }

    listed = re.findall(r"^\| `([A-Z]+ /\S*)`", (PAGES / "http-api.md").read_text(), re.MULTILINE)

    assert set(listed) == served_routes
