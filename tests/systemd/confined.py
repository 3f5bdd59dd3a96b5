"""Runs a program as far as it goes as the unit does: `python confined.py PROGRAM ARGUMENT...`.

What the kernel keeps from a process without the help of systemd: new privileges, memory that is
writable and executable; and from its surroundings a home, a terminal and most of the environment.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 38, 65
PASSED_ON = (
    # What systemd sets for the unit, and where the modules of this checkout are.
    *("PATH", "LANG", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"),
    *("INSULA_NODE_NAME", "NOTIFY_SOCKET", "WATCHDOG_USEC", "PYTHONPATH"),
)


def main() -> None:
    """Take everything away and become the program."""
    control = ctypes.CDLL(None, use_errno=True).prctl
    for option in (PR_SET_NO_NEW_PRIVS, PR_SET_MDWE):
        if control(option, 1, 0, 0, 0) != 0:  # PR_SET_MDWE came with Linux 6.3
            sys.stderr.write(f"prctl {option}: {os.strerror(ctypes.get_errno())}\n")
    os.umask(0o077)
    os.chdir("/")
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    os.execve(sys.argv[1], sys.argv[1:], {**passed, "HOME": ""})  # noqa: S606 - a test says what


if __name__ == "__main__":
    main()
