"""Where the process of a command begins: Ctrl-C ends it without a traceback from here on."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line of this process; the entry point of `insula`."""
    # Nothing has begun while Python loads, so nothing is left undone. Where the shell has Ctrl-C
    # ignored, as for what it starts in the background, it stays so.
    obeyed = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if obeyed:
        signal.signal(signal.SIGINT, _end)
    from orchestrator.cli.exit import INTERRUPTED  # noqa: PLC0415 - loaded when Ctrl-C is obeyed
    from orchestrator.cli.main import main  # noqa: PLC0415

    try:
        if obeyed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _end(number: int, _: FrameType | None) -> NoReturn:
    os._exit(128 + number)
