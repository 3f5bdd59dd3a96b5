"""How a command finds the daemon: the options that all of them share."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestrator.cli import output
from orchestrator.model.errors import ConfigError, InsulaError
from orchestrator.model.progress import Report
from orchestrator.settings import lenient
from orchestrator.settings.directories import absolute, control_socket
from orchestrator.settings.load import find_config, load_runtime_dir

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncClient

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="The daemon's configuration file. [default: ./config/insula.toml if it is there]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Socket = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="The control socket, instead of the configuration's."),
]
Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The daemon's address, such as http://127.0.0.1:8088."),
]

TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Where the token for --url is. [default: the variable INSULA_TOKEN]",
    ),
]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Send the token to another machine without TLS.")
]
TOKEN_CHARACTERS = 4096

Command = TypeVar("Command", bound=Callable[..., int | None])


@dataclass(frozen=True)
class Door:
    """The way to the daemon that the command line chose, and the form of the answer."""

    config: Path | None = None
    socket: Path | None = None
    url: str | None = None
    json: bool = False
    token_file: Path | None = None
    plain_http: bool = False

    def open(self) -> SyncClient:
        """Return a client of the daemon; ConfigError when the configuration is not there.

        One that is broken is read as far as it tells where the daemon is, with a warning.
        """
        from orchestrator.client.sync import SyncClient  # noqa: PLC0415 - help needs no client

        # No retries: who types a command rather hears at once that nobody answers.
        return SyncClient(
            self._address(), token=self._token(), retries=0, plain_http=self.plain_http
        )

    @contextmanager
    def progress(self) -> Iterator[Report | None]:
        """Yield where a long command reports to, if anybody looks (see `progress_bar`).

        Ctrl-C ends the command, and nothing that the daemon has begun.
        """
        try:
            with progress_bar(as_json=self.json) as report:
                yield report
        except KeyboardInterrupt:
            output.say("what the daemon has begun goes on: insula tenant audit tells")
            raise

    def _token(self) -> str | None:
        """Return the token, which is for --url alone: no argument, as everybody may list those."""
        if self.url is None:
            return None
        if self.token_file is None:
            return os.environ.get("INSULA_TOKEN")
        try:
            with self.token_file.open(encoding="ascii") as opened:
                return opened.read(TOKEN_CHARACTERS).strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise typer.BadParameter(why, param_hint="--token-file") from None

    def _address(self) -> str:
        if self.url is not None:
            return self.url
        path = self.socket or control_socket(self._runtime_dir())
        return f"unix://{absolute(path)}"

    def _runtime_dir(self) -> Path:
        config = find_config(self.config)
        try:
            return load_runtime_dir(config, os.environ)
        except ConfigError as error:
            # A name that was misspelt must not lead to the daemon of the default directory.
            if config is not None and not config.exists():
                raise
            found = lenient.runtime_dir(config, os.environ)
            first, *others = error.problems
            more = f" (and {len(others)} more)" if others else ""
            output.say(f"warning: {output.line(first)}{more}; the daemon is looked for in {found}")
            return found


@contextmanager
def progress_bar(*, as_json: bool) -> Iterator[Report | None]:
    """Yield where a long command reports to: a bar for who looks at a terminal, else None."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    from orchestrator.cli.bar import Bar  # noqa: PLC0415 - only a terminal needs what draws

    with Bar() as bar:
        yield bar.report


def daemon_command(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Register a function as a command that talks to the daemon.

    Its parameter `door` is made from `--config`, `--socket`, `--url`, `--token-file`,
    `--plain-http` and `--json`, which every such command has; the other parameters are its own.
    """

    def register(function: Command) -> Command:
        own = inspect.signature(function, eval_str=True).parameters
        parameters = [each for each in own.values() if each.name != "door"] + _SHARED

        def command(
            *,
            config: Path | None,
            socket: Path | None,
            url: str | None,
            token_file: Path | None,
            plain_http: bool,
            as_json: bool,
            **own: Any,
        ) -> int | None:
            if url is not None and socket is not None:
                raise typer.BadParameter("give one of --url and --socket", param_hint="--url")
            if url is None and token_file is not None:
                raise typer.BadParameter("a token is for --url", param_hint="--token-file")
            door = Door(config, socket, url, as_json, token_file, plain_http)
            try:
                return function(door=door, **own)
            except InsulaError as error:
                if as_json:
                    output.document({"error": describe(error)})
                raise

        # Typer reads both; the wrapper itself has neither the command's options nor its help.
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        command.__doc__ = function.__doc__
        app.command(name)(command)
        return function

    return register


def describe(error: InsulaError) -> dict[str, Any]:
    """Return an error as the JSON that `--json` prints of it."""
    return {"code": error.code, "detail": str(error), "hint": error.hint, "data": error.data}


_SHARED = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
    for name, kind, default in (
        ("config", Config, None),
        ("socket", Socket, None),
        ("url", Url, None),
        ("token_file", TokenFile, None),
        ("plain_http", PlainHttp, False),
        ("as_json", AsJson, False),
    )
]
