"""The settings of the embedded server, written anew at each start."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

_LEAST_CONNECTIONS = 100


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What of the server's settings depends on its use; everything else is fixed below."""

    max_connections: int = _LEAST_CONNECTIONS
    settings: Mapping[str, str] = {}
    access: tuple[str, ...] = ("local all all trust",)

    @classmethod
    def for_tenants(cls, awake: int) -> Tuning:
        """Return what serves `awake` tenants at a time, and the node's own connections.

        Each has its supervisor's connection, one that its tasks use, one kept for the next, and
        one of its cache.
        """
        return cls(max_connections=max(_LEAST_CONNECTIONS, 4 * awake + 20))


def configuration(tuning: Tuning, *, home: Path, socket_dir: Path) -> str:
    """Return the text of `insula.conf`.

    ALTER SYSTEM still wins over it (postgresql.auto.conf is read last), which leaves an
    operator a way to tune the server.
    """
    settings = {
        # Only a socket that its directory hides from everybody else; that is why the access
        # rules can trust whoever gets there.
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": _list_item(str(socket_dir)),
        "unix_socket_permissions": "0700",
        "hba_file": str(home / "access.conf"),
        "password_encryption": "scram-sha-256",
        "max_connections": str(tuning.max_connections),
        # A schema has many relations, and dumps and migrations lock all of them.
        "max_locks_per_transaction": "256",
        "shared_buffers": "128MB",
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        # Thousands of schemas are hundreds of thousands of files: one syncfs at crash recovery
        # in place of an fsync for each.
        "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "cluster_name": "insula",
        "logging_collector": "on",
        "log_directory": str(home / "log"),
        # A ring of a week: the file of last Monday is overwritten on Monday.
        "log_filename": "postgresql-%a.log",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "log_lock_waits": "on",
        **tuning.settings,
    }
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "\n".join(["# Written at each start; use ALTER SYSTEM to change a setting.", *lines, ""])


def access(tuning: Tuning) -> str:
    """Return the text of the access rules (pg_hba.conf)."""
    return "\n".join([*tuning.access, ""])


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _list_item(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
