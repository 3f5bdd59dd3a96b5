"""`insula serve` as a process on directories of its own, to be killed and cleared away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_TIMEOUT = 30.0
POSTGRES_TIMEOUT = 15.0
LOG_LINES = 25


class Daemon:
    """A daemon with everything it writes below `home`; it never uses a database from outside."""

    def __init__(self, config: Path, home: Path) -> None:
        self.socket = home / "run" / "insula.sock"
        self._config = config
        self._home = home
        self._log = home / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"unix://{self.socket}"

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; it is ready some time later."""
        command = [sys.executable, "-m", "orchestrator", "serve", "--config", str(self._config)]
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal is for the demo, which then stops it.
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End the process as a crash would: SIGKILL, nothing is said or written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int | None:
        """End everything that was started, whatever state it is in; return the exit code."""
        if self._process is not None and self.alive:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._stop_postgres()
        return self._process.returncode if self._process is not None else None

    def log_tail(self) -> str:
        """Return the last lines of the daemon's log."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            # Another database, another installation's directories, another supervisor's socket.
            if not name.startswith(("INSULA_", "PG"))
            and name not in {"DATABASE_URL", "POSTGRESQL_URL", "NOTIFY_SOCKET", "WATCHDOG_USEC"}
        }
        return kept | {
            "INSULA_STATE_DIR": str(self._home / "state"),
            "INSULA_RUNTIME_DIR": str(self._home / "run"),
        }

    def _stop_postgres(self) -> None:
        """Stop the embedded server of a daemon that was killed: it outlives its daemon."""
        for pid_file in self._home.glob("state/**/postmaster.pid"):
            # SIGINT is PostgreSQL's fast shutdown; it removes the file at its end.
            for sent in (signal.SIGINT, signal.SIGKILL):
                if _postmaster(pid_file) is None or _ended(pid_file, sent):
                    break


def _ended(pid_file: Path, sent: signal.Signals) -> bool:
    """Send the signal and return whether the server was gone in time."""
    deadline = time.monotonic() + POSTGRES_TIMEOUT
    while (pid := _postmaster(pid_file)) is not None and time.monotonic() < deadline:
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return _postmaster(pid_file) is None


def _postmaster(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
