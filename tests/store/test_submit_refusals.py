"""What insula.submit refuses, with every reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Target
from orchestrator.store.control import tenants
from tests.store.submitting import RUNS, submit
from tests.support.database import Database

MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"workflow": ""}, "$.workflow"),
    ({"workflow": None}, "$.workflow"),
    ({"workflow": "w" * 101}, "$.workflow"),
    ({"input": None}, "$.input"),
    ({"input": "[1]"}, "$.input"),
    ({"input": '"text"'}, "$.input"),
    ({"input": '{"a": "' + "x" * 2**24 + '"}'}, "$.input"),
    ({"key": ""}, "$.key"),
    ({"key": "k" * 256}, "$.key"),
    ({"queue": ""}, "$.queue"),
    ({"queue": None}, "$.queue"),
    ({"priority": -1}, "$.priority"),
    ({"priority": 10}, "$.priority"),
    ({"priority": None}, "$.priority"),
    ({"version": ""}, "$.version"),
    ({"at": datetime(9998, 1, 1, tzinfo=UTC)}, "$.at"),
    ({"tags": None}, "$.tags"),
    ({"tags": [None]}, "$.tags"),
    ({"tags": [["a"], ["b"]]}, "$.tags"),
    ({"tags": [""]}, "$.tags"),
    ({"tags": ["t" * 256]}, "$.tags"),
    ({"tags": ["t"] * 1001}, "$.tags"),
    ({"input": '{"a": ' + "[" * 3000 + "]" * 3000 + "}"}, "$.input"),
    ({"input": '{"a": 1e4300}'}, "$.input"),
    ({"input": '{"a": [{"b": -1e4300}]}'}, "$.input"),
]


async def test_a_tenant_that_can_not_take_runs_is_named(
    acme: Database, application: Target
) -> None:
    admin = await acme.connect()
    for name in ("new", "gone", "off"):
        await tenants.register(admin, TenantId(name), '{"enabled":false}')
    await admin.execute("UPDATE insula.tenant SET state = 'removed' WHERE id = 'gone'")
    await admin.execute("UPDATE insula.tenant SET declaration = '{}' WHERE id = 'new'")
    connection = await acme.connect(application)
    expected: dict[str | None, tuple[str, str]] = {
        "nobody": ("IN404", "no tenant 'nobody' is declared or registered"),
        "ACME": ("IN404", "no tenant 'ACME'"),
        None: ("IN404", "no tenant NULL"),
        "new": ("IN503", "tenant 'new' has no tables yet"),
        "gone": ("IN410", "tenant 'gone' was deleted"),
        "off": ("IN423", "tenant 'off' is disabled"),
    }

    for tenant, (code, sentence) in expected.items():
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, tenant, "report")

        assert caught.value.sqlstate == code
        assert sentence in str(caught.value)
        assert caught.value.hint


async def test_a_field_that_can_not_be_is_refused_with_its_path(
    acme: Database, application: Target, subtests: pytest.Subtests
) -> None:
    connection = await acme.connect(application)

    for arguments, path in MISFITS:
        with subtests.test(path, value=str(arguments)[:60]):
            with pytest.raises(asyncpg.PostgresError, match=rf"\{path}: ") as caught:
                await submit(connection, tenant="acme", **{"workflow": "report", **arguments})
            assert caught.value.sqlstate == "IN422"
    assert await (await acme.connect()).fetch(RUNS) == []


async def test_a_text_is_one_line_without_control_characters(
    acme: Database, application: Target
) -> None:
    connection = await acme.connect(application)
    texts = [f"é🦉{character}b" for character in "\1\n\x1b\x7f\x85\x9b"]
    fields: list[dict[str, Any]] = [
        *({name: text} for name in ("workflow", "key", "queue", "version") for text in texts),
        *({"tags": ["a", text, text]} for text in texts),
    ]

    for field in fields:
        (name,) = field
        with pytest.raises(asyncpg.PostgresError) as caught:
            await submit(connection, tenant="acme", **{"workflow": "report", **field})
        assert caught.value.sqlstate == "IN422"
        assert caught.value.args[0] == f"$.{name}: has a control character"
    await submit(connection, "acme", "é🦉", key="é🦉", queue="é🦉", tags=["é🦉"])


async def test_what_is_accepted_can_be_read_back(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)
    deep = "[" * 498 + "1e4299" + "]" * 498

    await submit(connection, "acme", "report", f'{{"a": {deep}}}', tags=["t" * 255] * 1000)

    (row,) = await (await acme.connect()).fetch(RUNS)
    assert str(msgspec.json.decode(row["input"])["a"]).count("[") == 498


async def test_all_problems_are_told_at_once(acme: Database, application: Target) -> None:
    connection = await acme.connect(application)

    with pytest.raises(asyncpg.PostgresError) as caught:
        await submit(connection, "acme", "", "[]", key="", priority=10)

    assert [each.split(":")[0] for each in caught.value.args[0].split("; ")] == [
        "$.workflow",
        "$.input",
        "$.key",
        "$.priority",
    ]
