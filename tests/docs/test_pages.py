"""What the documentation says is so: its examples run, its files load, its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from orchestrator.cli.main import commands
from orchestrator.model.errors import ConfigError
from orchestrator.settings.load import load
from tests.docs.pages import DOCS, PAGES, ROOT, blocks_of, name_of
from tests.docs.site import site, write
from tests.support.database import Databases

MAIN = 'include = ["tenants.d/*.toml"]\n[tiers.basic]\n'
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^(?:\$ )?|`)insula ([^`\n#]+?)(?:$|`|#|  )", re.MULTILINE)
FILE = re.compile(r"`((\w+)/[\w/]*(?:\w\.\w+)?)`")
CODE = ("benchmarks", "orchestrator", "supervisors", "tests")
LAYERS = {path.parent.name for path in ROOT.glob("orchestrator/*/__init__.py")}
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def test_the_examples_do_what_the_pages_say(
    subtests: pytest.Subtests,
    databases: Databases,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(state_dir)
    with site(state_dir, databases) as reader:
        for page in PAGES:
            if not blocks_of(page, "python", "sql", "console"):
                continue
            with subtests.test(page=name_of(page)):
                reader.read(page)
            reader.tidy()


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p, "toml")], ids=name_of)
def test_the_files_that_a_page_shows_load(page: Path, tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "tenants.d").mkdir()
    write(tmp_path / "insula.toml", MAIN)
    for block in blocks_of(page, "toml"):
        file = block.file or "alone.toml"
        write(tmp_path / file, block.text)
        main = tmp_path / ("insula.toml" if file.startswith("tenants.d/") else file)
        with pytest.raises(ConfigError) if block.wrong else nullcontext():
            load(main, {})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading:
            assert heading in headings(target), link


def headings(page: Path) -> set[str]:
    """Return what a link may name after a #, as the usual renderers make it of the headings."""
    plain = (re.sub(r"[^\w\s-]", "", found.lower()) for found in HEADING.findall(page.read_text()))
    return {found.strip().replace(" ", "-") for found in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_the_code_that_a_page_names_is_there(page: Path) -> None:
    named = FILE.findall(page.read_text())
    of_root = [ROOT / path for path, first in named if first in CODE]
    of_layers = [ROOT / "orchestrator" / path for path, first in named if first in LAYERS]

    assert [path for path in (*of_root, *of_layers) if not path.exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "index.md"
    linked = {(DOCS / link).resolve() for link in LINK.findall(index.read_text())}

    assert {page for page in PAGES if page.is_relative_to(DOCS)} - linked == {index}


def test_the_pages_are_found() -> None:
    assert len(PAGES) > 20
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    written = [found[1] for found in COMMAND.finditer(page.read_text())]

    for line in written:
        for alternative in alternatives(line):
            assert is_command(alternative), f"insula {line}"


def alternatives(line: str) -> list[list[str]]:
    """Return the words of each command of a line: `run show | list` are two."""
    first, *others = line.partition("…")[0].split(" | ")
    group = first.split()[:1]
    return [first.split(), *([*group, *other.split()] for other in others)]


def is_command(words: Sequence[str]) -> bool:
    """Tell whether the words name a command, or a group of them, and options that it has."""
    known = commands()
    for word in words:
        if hasattr(known, "commands") and not word.startswith("-"):
            if word not in known.commands:
                return False
            known = known.commands[word]
    options = {"--help"}.union(*(each.opts for each in known.params))
    return {word for word in words if word.startswith("--")} <= options
