"""The tables of the configuration file that name databases."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from orchestrator.settings.duration import Duration
from orchestrator.settings.keys import about, shaped
from orchestrator.settings.section import Section


class DatabaseSection(Section, frozen=True, kw_only=True):
    """The PostgreSQL server that holds the control schema and the tenants."""

    url: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4000)] | None,
        about(
            "postgresql:// URL of a login that may create schemas and roles;"
            " ${NAME} is an environment variable, file:PATH the contents of a file",
            "daemon",
            absent="an embedded PostgreSQL below state_dir",
            example="postgresql:///app",
        ),
    ] = None
    role_prefix: Annotated[
        Annotated[
            str,
            shaped(
                "^[a-z][a-z0-9_]{0,19}",
                "has up to 20 lower-case letters, digits and '_', a letter first",
            ),
        ],
        about("begins the name of every role that Insula makes on the server", "immutable"),
    ] = "insula"
    connect_timeout: Annotated[
        Duration,
        about("how long one attempt to connect may take", "daemon", least="100ms", most="5m"),
    ] = Duration(seconds=10)

    def __repr__(self) -> str:
        """Leave the URL out: it may hold a password."""
        return f"DatabaseSection(role_prefix={self.role_prefix!r})"


class ShardSection(Section, frozen=True, kw_only=True):
    """A further PostgreSQL database for tenants; the control schema stays where `[database]` is."""

    url: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4000)],
        about("postgresql:// URL, as that of `[database]`", "daemon"),
    ] = ""
    isolation: Annotated[
        Literal["role", "database"],
        about("what each tenant has of its own there: two logins, or a database as well", "daemon"),
    ] = "role"

    def __repr__(self) -> str:
        """Leave the URL out: it may hold a password."""
        return f"ShardSection(isolation={self.isolation!r})"
