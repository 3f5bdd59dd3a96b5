"""`insula doctor`: no daemon runs here."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
import pytest

from tests.cli.conftest import Insula
from tests.support.database import Database


@pytest.fixture
def config(database: Database, tmp_path: Path) -> Path:
    """Return the configuration of an installation over the test's database."""
    path = tmp_path / "insula.toml"
    path.write_text(
        f'database.url = "{database.target.url}"\n'
        f'database.role_prefix = "{database.role_prefix}"\n'
        f'node.state_dir = "{tmp_path}"\n'
        '[tenants.acme]\naliases = ["acme-corp"]\n'
    )
    return path


async def test_findings_say_what_is_wrong_and_how_to_mend_it(
    database: Database, local: Insula, config: Path
) -> None:
    await database.provision("acme")
    admin = await database.connect()
    await admin.execute("ALTER TABLE tenant_acme.wf_run DROP COLUMN tags")

    told = await anyio.to_thread.run_sync(local, "doctor", "--config", str(config))
    document = await anyio.to_thread.run_sync(local, "doctor", "--config", str(config), "--json")

    assert told.code == document.code == 1
    assert "error: tenant acme: column wf_run.tags is missing: text[] not null" in told.out
    assert "\n  mend: make it in the tenant's schema as it is told here\n" in told.out
    assert told.err.startswith(database.target.redacted)
    assert document.json["tenants"] == 1
    assert ("drift.missing", "error") in [
        (each["check"], each["severity"]) for each in document.json["findings"]
    ]


async def test_one_tenant_that_is_well_is_done(
    database: Database, local: Insula, config: Path
) -> None:
    await database.provision("acme")

    well = await anyio.to_thread.run_sync(
        local, "doctor", "--tenant", "acme-corp", "--config", str(config)
    )
    unknown = await anyio.to_thread.run_sync(
        local, "doctor", "--tenant", "umbrella", "--config", str(config), "--json"
    )

    assert (well.code, well.out) == (0, "")
    assert (unknown.code, unknown.json["error"]["code"]) == (3, "tenant_not_found")


def test_without_a_database_nothing_is_made(local: Insula, tmp_path: Path) -> None:
    (tmp_path / "insula.toml").write_text(f'node.state_dir = "{tmp_path / "state"}"\n')

    done = local("doctor", "--config", str(tmp_path / "insula.toml"))

    assert done.code == 5
    assert "there is no database in" in done.err
    assert not (tmp_path / "state").exists()
