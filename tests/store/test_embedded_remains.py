"""What lies where the embedded server's data belongs: it is named, and never touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from orchestrator.model.errors import StartError
from orchestrator.store.embedded import EmbeddedPostgres, processes
from tests.support.server import server_binaries
from tests.support.wait import until


@pytest.fixture
def data(state_dir: Path) -> Path:
    """Return a directory with the marks of a whole one, which no server would start on."""
    data = state_dir / "postgresql" / "data"
    (data / "global").mkdir(parents=True)
    for name in ("PG_VERSION", "postgresql.conf", "global/pg_control"):
        (data / name).write_text("18\n")
    return data


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda data: (data / "PG_VERSION").unlink(), "PG_VERSION is missing"),
        (lambda data: (data / "PG_VERSION").write_text("x"), "PG_VERSION holds no version"),
        (lambda data: (data / "postgresql.conf").unlink(), "postgresql.conf is missing"),
        (lambda data: (data / "global" / "pg_control").unlink(), "pg_control is missing"),
    ],
)
async def test_data_that_is_not_whole_is_named(
    data: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    spoil(data)

    with pytest.raises(StartError, match=sentence) as caught:
        await EmbeddedPostgres(data.parents[1], bin_dir=server_binaries()).start()

    assert "backup" in caught.value.hint
    assert (data / "global").is_dir()


@pytest.mark.parametrize("name", ["postgresql", "postgresql/data"])
async def test_a_file_where_a_directory_belongs_is_named(state_dir: Path, name: str) -> None:
    file = state_dir / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("kept")

    with pytest.raises(StartError) as caught:
        await EmbeddedPostgres(state_dir, bin_dir=server_binaries()).start()

    assert str(file) in str(caught.value)
    assert "move it away" in caught.value.hint
    assert file.read_text() == "kept"


async def test_a_start_that_is_cancelled_while_it_makes_the_data_leaves_nothing_of_them(
    state_dir: Path,
) -> None:
    home = state_dir / "postgresql"
    async with anyio.create_task_group() as group:
        group.start_soon(EmbeddedPostgres(state_dir, bin_dir=server_binaries()).start)
        await until((home / "data.new" / "PG_VERSION").exists)
        found = [pid for pid in children(os.getpid()) if "initdb" in command_of(pid)]
        assert len(found) == 1
        assert [os.getsid(pid) for pid in found] == found, "the terminal's Ctrl-C is not for it"
        group.cancel_scope.cancel()

    assert not (home / "data").exists()
    assert not (home / "data.new").exists()
    assert list(processes.servers_of(home / "data.new")) == []
    assert not set(found) & set(children(os.getpid()))


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
