"""Arguments and options that commands of several modules have."""

from __future__ import annotations

from typing import Annotated

import typer

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="An id or alias.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The id that `start` printed.")]
WaitForRuns = Annotated[
    str | None,
    typer.Option("--wait", metavar="TIME", help="Give unfinished runs so long to end: 30s, 5m."),
]
