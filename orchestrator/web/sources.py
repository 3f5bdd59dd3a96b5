"""Where a request may name its tenant. Pure: a source reads the request and knows no tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from orchestrator.model.errors import InvalidRequest, Unauthenticated

Verify = Callable[[str], Mapping[str, Any]]
"""Returns the claims of a token that it has proven; raises ValueError when the token is bad."""


@runtime_checkable
class Prepares(Protocol):
    """A `Verify` that may have to wait for something before it can prove a token."""

    async def prepare(self, token: str, /) -> None:
        """Have at hand what proves the token, off the event loop."""

    def prepare_now(self, token: str, /) -> None:
        """Do the same in a thread that may wait."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at of a request: the decoded path, and all headers as they came, in order."""

    path: str
    headers: Sequence[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        """Return every value of a header, whatever the case of its name."""
        wanted = name.lower()
        return [value for each, value in self.headers if each.lower() == wanted]

    def one(self, name: str) -> str | None:
        """Return the value of a header that may be there once; raises InvalidRequest for more.

        A proxy and an application may each believe another one of two.
        """
        found = self.all(name)
        if len(found) > 1:
            raise InvalidRequest(f"the request has {len(found)} headers {name}")
        return found[0] if found else None


class Source(Protocol):
    """One place in a request."""

    @property
    def label(self) -> str:
        """What it is called in an error."""

    def named(self, seen: Seen) -> str | None:
        """Return the id or alias that the request has there; None when it has none."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header of its own.

    Whoever can reach the application can write it: set it behind a gateway that overwrites it, or
    beside a source that is proven (a `Claim`), with which it has to agree.
    """

    name: str = "X-Tenant-ID"

    @property
    def label(self) -> str:
        return f"header {self.name}"

    def named(self, seen: Seen) -> str | None:
        return (seen.one(self.name) or "").strip() or None


@dataclass(frozen=True, slots=True)
class Subdomain:
    """The label before `domain` in the host: acme-corp.example.com.

    `ignored` are the labels that are no tenant's. More than one label is a name that no tenant
    has. `header` is what names the host: X-Forwarded-Host only behind a proxy that sets it.
    """

    domain: str
    ignored: Collection[str] = ("www",)
    header: str = "Host"

    @property
    def label(self) -> str:
        return "subdomain"

    def named(self, seen: Seen) -> str | None:
        host = _host(seen.one(self.header) or "")
        label, dot, rest = host.partition(f".{self.domain.lower().strip('.')}")
        found = label if dot and not rest else None
        return found if found and found not in self.ignored else None


@dataclass(frozen=True, slots=True)
class PathSegment:
    """The part of the path that follows `prefix`: /t/acme_corp/reports."""

    prefix: str = "/t"

    @property
    def label(self) -> str:
        return f"path below {self.prefix}"

    def named(self, seen: Seen) -> str | None:
        start = "/" + self.prefix.strip("/") + "/" if self.prefix.strip("/") else "/"
        if not seen.path.startswith(start):
            return None
        return seen.path.removeprefix(start).partition("/")[0] or None


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the bearer token, which `verify` has proven; `orchestrator.web.jwt` makes one.

    A request without a token names nobody here; one with a token that is not good is refused, as
    is a token in which the claim is no text.
    """

    name: str
    verify: Verify

    @property
    def label(self) -> str:
        return f"claim {self.name}"

    async def prepare(self, seen: Seen) -> None:
        """Have at hand what proves the token, so that `named` does not wait."""
        token = _bearer(seen)
        if token is not None and isinstance(self.verify, Prepares):
            await self.verify.prepare(token)

    def prepare_now(self, seen: Seen) -> None:
        """Do the same in a thread that may wait."""
        token = _bearer(seen)
        if token is not None and isinstance(self.verify, Prepares):
            self.verify.prepare_now(token)

    def named(self, seen: Seen) -> str | None:
        token = _bearer(seen)
        if token is None:
            return None
        try:
            found = self.verify(token).get(self.name)
        except ValueError as error:
            raise Unauthenticated from error
        if found is not None and not isinstance(found, str):
            raise Unauthenticated
        return found or None


def _bearer(seen: Seen) -> str | None:
    """Return the bearer token of a request; None when it has none. InvalidRequest for two."""
    scheme, _, token = (seen.one("Authorization") or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _host(text: str) -> str:
    """Return the name in a Host header, in lower case, without port and final dot."""
    name = text.strip().lower()
    head, colon, port = name.rpartition(":")
    if colon and port.isdecimal():
        name = head
    return name.removesuffix(".")
