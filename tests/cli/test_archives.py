"""`insula tenant backup`, `restore` and `clone`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.archive.container import ArchiveReader
from tests.cli.conftest import Insula
from tests.http.parts.archives import small_archive
from tests.http.platform import HandMadePlatform


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return the archive of a tenant globex that is not there."""
    path = tmp_path / "globex.tar"
    with path.open("wb") as file:
        small_archive("globex", file)
    return path


def test_a_backup_is_one_file_that_has_been_checked(insula: Insula, tmp_path: Path) -> None:
    path = tmp_path / "acme.tar"
    path.write_text("of yesterday", encoding="utf-8")

    done = insula("tenant", "backup", "acme-corp", str(path))

    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "backed",
        "as",
        "file",
        "size",
        "tables",
        "rows",
    ]
    with path.open("rb") as file:
        assert ArchiveReader(file).manifest.tenant == "acme_corp"
    assert [each.name for each in tmp_path.glob("acme*")] == ["acme.tar"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_is_not_whole_leaves_nothing_behind(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    platform.add("cut")
    before = tmp_path / "cut.tar"
    before.write_text("of yesterday", encoding="utf-8")

    done = insula("tenant", "backup", "cut", str(before))

    assert (done.code, done.err.split(":")[0]) == (1, "error[archive_invalid]")
    assert [each.name for each in tmp_path.glob("cut*")] == ["cut.tar"]
    assert before.read_text(encoding="utf-8") == "of yesterday"


def test_a_disk_that_is_full_is_told_and_nothing_is_left(insula: Insula) -> None:
    done = insula("tenant", "backup", "acme-corp", "/nowhere/acme.tar")

    assert done.code == 1
    assert done.err.startswith(
        "error[storage_failed]: /nowhere/acme.tar can not be written: No such file"
    )


@pytest.mark.parametrize("there", ["pipe", "directory", "link to a device"])
def test_a_backup_does_not_take_the_place_of_what_is_no_file(
    insula: Insula, tmp_path: Path, there: str
) -> None:
    path = tmp_path / "acme.tar"
    match there:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to(os.devnull)
    before = path.lstat()

    done = insula("tenant", "backup", "acme-corp", str(path))

    assert done.code == 1
    assert done.err.startswith(f"error[storage_failed]: {path} is there already, and is no file")
    assert path.lstat() == before


def test_a_backup_is_not_written_through_a_link(insula: Insula, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("of somebody else", encoding="utf-8")
    (tmp_path / "acme.tar.part").symlink_to(other)

    done = insula("tenant", "backup", "acme-corp", str(tmp_path / "acme.tar"))

    assert done.code == 0
    assert other.read_text(encoding="utf-8") == "of somebody else"
    assert [each.name for each in tmp_path.glob("acme*")] == ["acme.tar"]


def test_an_archive_is_restored_under_its_own_id(
    insula: Insula, platform: HandMadePlatform, archive: Path
) -> None:
    done = insula("tenant", "restore", str(archive), "--json")

    assert (done.code, done.json["tenant"], done.json["unfinished"]) == (0, "globex", 1)
    assert platform.archives.asked == [("restore", "globex", None, None, False, None)]
    again = insula("tenant", "restore", str(archive))
    assert (again.code, again.err.split(":")[0]) == (1, "error[tenant_exists]")


def test_an_archive_is_restored_under_another_id(
    insula: Insula, platform: HandMadePlatform, archive: Path
) -> None:
    options = ("--as", "again", "--runs", "none", "--foreign", "--to", "eu")
    done = insula("tenant", "restore", str(archive), *options)

    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["restored", "again"]
    assert platform.archives.asked == [("restore", "again", "globex", "none", True, "eu")]


def test_a_file_that_is_no_archive_is_told_before_it_is_sent(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"x" * 2000)

    done = insula("tenant", "restore", str(tmp_path / "x"))

    assert done.code == 1
    assert done.err.startswith(f"error[archive_invalid]: {tmp_path / 'x'}: the archive is")
    assert "hint: take a whole copy of the file" in done.err
    assert insula("tenant", "restore", str(tmp_path / "y")).err.startswith("error[storage_failed]")
    assert platform.archives.asked == []


def test_a_tenant_is_cloned_without_its_runs(insula: Insula, platform: HandMadePlatform) -> None:
    done = insula("tenant", "clone", "acme-corp", "globex")

    assert done.out.splitlines()[:2] == ["cloned           globex", "of               acme_corp"]
    assert platform.archives.asked == [("clone", "acme_corp", "globex", "none", None)]
    assert insula("tenant", "clone", "acme-corp", "there", "--to", "eu").code == 0
    assert platform.archives.asked[1:] == [("clone", "acme_corp", "there", "none", "eu")]


def test_a_tenant_is_archived_and_brought_back(insula: Insula, platform: HandMadePlatform) -> None:
    away = insula("tenant", "archive", "acme-corp", "--wait", "5s")
    back = insula("tenant", "unarchive", "acme-corp", "--json")

    assert away.out.splitlines() == [
        "archived     acme_corp",
        "in the file  /srv/acme_corp.tar",
        "rows         12",
    ]
    assert (back.json["tenant"], back.json["unfinished"]) == ("acme_corp", 1)
    assert platform.lifecycle.asked == [("archive", "acme_corp", False, 5.0)]
    assert insula("tenant", "unarchive", "acme-corp", "--to", "eu").code == 0
    asked = [("unarchive", "acme_corp", to) for to in (None, "eu")]
    assert platform.archives.asked == asked


def test_a_tenant_is_exported_into_a_directory_and_imported_from_there(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    directory = tmp_path / "acme"

    how = ("--format", "jsonl", "--unsealed", "--json")
    away = insula("tenant", "export", "acme-corp", str(directory), *how)
    again = insula("tenant", "export", "acme-corp", str(directory))
    back = insula("tenant", "import", "acme-corp", str(directory))

    assert (away.json["tables"], away.json["rows"], away.json["runs"]) == (1, 2, 0)
    names = ["flight.jsonl", "manifest.json", "wf_run.jsonl"]
    assert sorted(each.name for each in directory.iterdir()) == names
    assert [each.name for each in tmp_path.glob("acme*")] == ["acme"]
    assert again.err.startswith(f"error[storage_failed]: {directory} is there already")
    assert back.out.splitlines()[0].split() == ["imported", "into", "acme_corp"]
    assert platform.archives.asked == [
        ("export", "acme_corp", "jsonl", True),
        ("add", "acme_corp", "jsonl"),
    ]
    (directory / "flight.jsonl").unlink()
    lacks = insula("tenant", "import", "acme-corp", str(directory))
    missing = directory / "flight.jsonl"
    assert lacks.err.startswith(f"error[storage_failed]: {missing} can not be read")
