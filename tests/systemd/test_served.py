"""The daemon as an instance of the template unit starts it, as far as that goes without systemd."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.process import MIGRATIONS, NotifySocket, daemon
from tests.support.wait import until

CONFINED = Path(__file__).with_name("confined.py")


@pytest.mark.slow
async def test_an_instance_serves_under_what_the_unit_takes_away(state_dir: Path) -> None:
    credentials = state_dir / "credentials"
    credentials.mkdir()
    (credentials / "installation.key").write_text(secrets.token_hex(32))
    # Made by systemd; as root, the database's user has to pass.
    (state_dir / "state").mkdir(mode=0o711)
    listening = NotifySocket(str(state_dir / "notify"))
    instance = {
        "INSULA_NODE_NAME": "west",
        "STATE_DIRECTORY": str(state_dir / "state"),
        "RUNTIME_DIRECTORY": str(state_dir / "run"),
        "CREDENTIALS_DIRECTORY": str(credentials),
        "NOTIFY_SOCKET": listening.address,
    }
    async with daemon(state_dir, **instance) as served:
        served.through = (sys.executable, CONFINED)
        served.config.write_text(
            f'migrations.path = "{MIGRATIONS}"\n'
            'workflows.modules = ["tests.daemon.jobs"]\n'
            "[tenants.acme]\n"
        )
        await served.start()
        await until(lambda: listening.has("READY"))
        listening.close()
        async with served.client() as client:
            assert (await client.status()).node == "west"
            for workflow in ("spawn", "apart"):
                run = await client.tenant("acme").start(workflow, {})
                assert (await run.result(timeout=20)).output == "none"
        # ExecReload runs with the same variables and finds its own instance.
        done = await asyncio.to_thread(
            subprocess.run,
            [*served.command("reload", "--wait", "--json")],
            env=served.variables(),
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout)["generation"] == 2
        assert not (state_dir / "state" / "installation.key").exists()
        assert await served.stop() == 0
    assert (state_dir / "state" / "postgresql").stat().st_mode & 0o077 == 0
