"""A process that owns an embedded server until it is killed: `python owner.py STATE_DIR [BIN_DIR]`.

It prints `ready PID URL`; as root it first becomes the user of INSULA_TEST_USER, if that is set.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from pathlib import Path

import anyio
import anyio.to_thread

from orchestrator.store import connect
from orchestrator.store.connect import Target
from orchestrator.store.embedded import EmbeddedPostgres, StateLock


async def own(state_dir: Path, bin_dir: Path | None) -> None:
    """Serve until standard input ends."""
    with StateLock(state_dir):
        async with EmbeddedPostgres(state_dir, bin_dir=bin_dir) as server:
            connection = await connect.connect(Target.parse(server.url), application_name="owner")
            user = await connection.fetchval("SELECT current_setting('data_directory')")
            await connection.close()
            sys.stdout.write(f"ready {server.pid} {user}\n")
            sys.stdout.flush()
            await anyio.to_thread.run_sync(sys.stdin.read)


def become(name: str) -> None:
    """Drop root for good, with all modules loaded: the user may not reach their files."""
    anyio.run(anyio.to_thread.run_sync, os.getpid)
    user = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


if __name__ == "__main__":
    if "INSULA_TEST_USER" in os.environ:
        become(os.environ["INSULA_TEST_USER"])
    asyncio.run(own(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
