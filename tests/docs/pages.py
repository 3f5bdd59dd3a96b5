"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(
    r"^(?P<before>[^\n]*)\n+```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"(?:#|--) ((?:[\w.-]+/)*[\w.-]+\.(?:py|toml|sql))$")
_NOT_RUN = re.compile(r"<!-- not run: .+ -->$")


@dataclass(frozen=True)
class Block:
    """One block of code: `file` when its first line is a comment with the name of a file.

    A line `<!-- not run: why -->` before a block leaves it out, `<!-- wrong on purpose -->` says
    that it must not load. One in a comment of the page is run and not shown.
    """

    page: Path
    line: int
    language: str
    text: str
    wrong: bool

    @property
    def file(self) -> str | None:
        found = _FILE.match(self.text.split("\n", 1)[0])
        return found[1] if found else None

    @property
    def place(self) -> str:
        """Where it begins, for messages."""
        return f"{name_of(self.page)}:{self.line}"


@dataclass(frozen=True)
class Shown:
    """A command of a console block, and the lines that the page shows after it."""

    command: str
    output: str


def name_of(page: Path) -> str:
    """Return a page's name for the test report."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page that are in one of `languages`, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("language")) + 1,
            language=language,
            text=found["text"],
            wrong=found["before"] == "<!-- wrong on purpose -->",
        )
        for found in _FENCE.finditer(text)
        if (language := found["language"]) in languages and not _NOT_RUN.match(found["before"])
    ]


def commands_of(block: Block) -> Iterator[Shown]:
    """Yield each `$ insula …` of a console block; a backslash continues it on the next line.

    What other programs print is not ours to check.
    """
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = re.sub(r"\\\n\s*", "", part).partition("\n")
        if command.startswith("insula "):
            yield Shown(command, output)
