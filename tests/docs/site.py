"""A daemon for the pages: what they say is written, run and typed as a reader would."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import os
import re
import shlex
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from orchestrator.cli.main import main
from orchestrator.store.connect import Connection
from tests.daemon.process import Daemon, daemon
from tests.docs.pages import PAGES, Block, Shown, blocks_of, commands_of
from tests.support.database import Database, Databases
from tests.support.wait import until

SOCKET = "/run/insula/insula.sock"
LOOKS = {"list", "show", "events", "why", "status"}
"""Commands that change nothing: a reader who looks too early looks again."""

ACME = """
[tenants.acme_corp]
name = "ACME Corporation"
aliases = ["acme", "acme-corp"]
settings = { currency = "USD" }
"""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VARIES = (
    (_UUID, "RUN"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\d{8}T\d{6}(?:\.\d+)?Z"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:ms|s|min|h)\b(?: \d+ (?:s|min)\b)?"), "WHILE"),
    (re.compile(r"process \d+|generation \d+|workflows \d+"), "NUMBER"),
    (re.compile(r"/\S*/(?=(?:tenants\.d/\w+|insula)\.toml)"), ""),
)
_Page = dict[str, Any]


class Site:
    """The directory of a daemon, and the reader who works through the pages in it."""

    def __init__(self, served: Daemon, connection: Connection, portal: BlockingPortal) -> None:
        self._served = served
        self._connection = connection
        self._portal = portal
        self._run = ""

    def read(self, page: Path) -> None:
        """Do everything that a page says, in its order; AssertionError names what is not so."""
        names: _Page = {"__name__": page.stem, "connection": self._connection}
        for block in blocks_of(page, "python", "toml", "sql", "console"):
            try:
                self._do(block, names)
            except Exception as error:
                error.add_note(block.place)
                raise
        for test in [each for name, each in names.items() if name.startswith("test_")]:
            self._call(test)

    def tidy(self) -> None:
        """Take back what a page said of tenants."""
        if [file.read_text() for file in self._tenants.iterdir()] == [ACME]:
            return
        for file in self._tenants.iterdir():
            file.unlink()
        write(self._tenants / "acme_corp.toml", ACME)
        code, said = type_in("insula reload --wait", self._config)
        assert code == 0, said

    @property
    def _config(self) -> Path:
        return self._served.config

    @property
    def _tenants(self) -> Path:
        return self._config.parent / "tenants.d"

    def _do(self, block: Block, names: _Page) -> None:
        match block.language:
            case "python" if block.file:
                names.update(vars(importlib.import_module(module_of(block.file))))
            case "python":
                self._execute(block, names)
            case "toml" if block.file and block.file.startswith("tenants.d/"):
                write(self._config.parent / block.file, block.text)
            case "sql" if not block.file:
                self._portal.call(self._connection.execute, block.text)
            case "console":
                for shown in commands_of(block):
                    self._type(shown)

    def _execute(self, block: Block, names: _Page) -> None:
        """Run code with the names of the blocks before it; `await` may stand at its outermost."""
        text = block.text.replace(SOCKET, str(self._config.parent / "run" / "insula.sock"))
        code = compile(
            "\n" * block.line + text,
            str(block.page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        call = types.FunctionType(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            self._portal.call(call)
        else:
            call()

    def _call(self, test: Callable[[], Any]) -> None:
        if inspect.iscoroutinefunction(test):
            self._portal.call(test)
        else:
            test()

    def _type(self, shown: Shown) -> None:
        """Type a command, and compare what it says; one that only looks is given time.

        RUN in it is the run that was named last; of a list, the newest.
        """
        command = shown.command.replace("RUN", self._run)
        refused = re.search(r"^error\[", shown.output, re.MULTILINE) is not None
        said = ""

        def agrees() -> bool:
            nonlocal said
            code, said = type_in(command, self._config)
            return (code != 0) == refused and is_shown(shown.output, said)

        if LOOKS.isdisjoint(command.split()[:3]):
            assert agrees(), differs(shown, said)
        else:
            try:
                anyio.run(until, agrees)
            except AssertionError:
                raise AssertionError(differs(shown, said)) from None
        if named := _UUID.search(said):
            self._run = named[0]


def type_in(command: str, config: Path) -> tuple[int, str]:
    """Run a command line in this process; return its exit code and what a terminal would show."""
    program, *arguments = shlex.split(command)
    assert program == "insula", command
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
        code = main([*arguments, *([] if "-h" in arguments else ["--config", str(config)])])
    return code, said.getvalue()


def is_shown(shown: str, said: str) -> bool:
    """Tell whether a page shows what was said, but for ids, times and the width of columns.

    `…` stands for anything: within a line, or for whole lines. A page may show nothing at all.
    """
    wanted, found = _plain(shown), _plain(said)
    parts = (re.escape(part.strip()) for part in wanted.split("…"))
    return not wanted or re.fullmatch(r"\s*(?s:.*?)\s*".join(parts), found) is not None


def differs(shown: Shown, said: str) -> str:
    """Return the sentence of a failure."""
    return f"$ {shown.command}\n--- shown:\n{_plain(shown.output)}\n--- said:\n{_plain(said)}"


def module_of(file: str) -> str:
    """Return the module that a file of a page is."""
    return file.removesuffix(".py").replace("/", ".")


def write(file: Path, text: str) -> None:
    """Write a file, and the directory it is in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@contextmanager
def site(directory: Path, databases: Databases) -> Iterator[Site]:
    """Serve the workflows of all pages as long as the block lasts."""
    with ExitStack() as stack:
        modules = [module_of(file) for file in _write_files(directory)]
        portal = stack.enter_context(start_blocking_portal())
        database = stack.enter_context(portal.wrap_async_context_manager(databases.lend()))
        served = stack.enter_context(
            portal.wrap_async_context_manager(daemon(directory, PYTHONPATH=_path(directory)))
        )
        stack.enter_context(_importable(directory, modules))
        _configure(served, database, modules)
        portal.call(served.start)
        yield Site(served, portal.call(database.connect), portal)


def _write_files(directory: Path) -> list[str]:
    """Write the modules and the migrations of all pages; return the modules' files."""
    modules: list[str] = []
    migrations = 0
    for block in (each for page in PAGES for each in blocks_of(page, "python", "sql")):
        if block.file is None:
            continue
        if block.file.startswith("migrations/"):
            migrations += 1
            name = re.sub(r"\d{4}", f"{migrations:04}", block.file)
            write(directory / name, block.text)
        elif block.language == "python" and block.file not in modules:
            modules.append(block.file)
            write(directory / block.file, block.text)
    return modules


def _configure(served: Daemon, database: Database, modules: list[str]) -> None:
    lines = [
        'include = ["tenants.d/*.toml"]',
        f"workflows.modules = {modules}",
        'migrations.path = "migrations"',
        'node.state_dir = "state"',
        'node.runtime_dir = "run"',
        f'database.url = "{database.target.url}"',
        f'database.role_prefix = "{database.role_prefix}"',
        "[tiers.basic]",
        "[tenants.globex]",
    ]
    write(served.config, "\n".join(lines) + "\n")
    write(served.config.parent / "tenants.d" / "acme_corp.toml", ACME)


@contextmanager
def _importable(directory: Path, modules: list[str]) -> Iterator[None]:
    before = os.environ.copy()
    for name in ("INSULA_DATABASE_URL", "DATABASE_URL", "POSTGRESQL_URL", "INSULA_RUNTIME_DIR"):
        os.environ.pop(name, None)
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))
        for name in modules:
            sys.modules.pop(name, None)
        os.environ.update(before)


def _path(directory: Path) -> str:
    return os.pathsep.join([str(directory), str(Path(__file__).parents[2])])


def _plain(text: str) -> str:
    for pattern, name in _VARIES:
        text = pattern.sub(name, text)
    lines = (re.sub(r"\s+", " ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
