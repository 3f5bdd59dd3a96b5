"""What every request must satisfy before a route sees it.

The control socket is guarded by its file's mode. A TCP port on a loopback address is reachable by
any web page that the user's browser shows, so it refuses what only a page would send: an `Origin`
that is not ours, a `Sec-Fetch-Site` that tells of another, a `Host` that is not this machine (a
name rebound to 127.0.0.1), a POST that is not JSON (the only kind a page may send elsewhere without
asking first). Who may do what is asked after that, in `http.access`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter

from orchestrator.http.peer import over_tcp
from orchestrator.model.errors import InvalidRequest, NotAllowed
from orchestrator.model.hosts import is_this_machine

Connection = ASGIConnection[Any, Any, Any, Any]


@dataclass(frozen=True)
class Strangers:
    """Refuses what a page of another site would send.

    `hosts` are the names of ours that are not this machine's; with `tls` a proxy speaks it for us.
    """

    hosts: Collection[str] = ()
    tls: bool = False

    async def __call__(self, connection: Connection, _: BaseRouteHandler) -> None:
        """Raise NotAllowed, which says which header told."""
        if not over_tcp(connection):
            return
        hosts = connection.headers.getall("host", [])
        host = hosts[0] if len(hosts) == 1 else ", ".join(hosts)
        if not self._is_ours(host):
            raise NotAllowed(
                f"the Host header {host!r} does not name this machine",
                hint="use the address of `http.listen`, for example 127.0.0.1,"
                " or add the name to `http.hosts`",
            )
        site = connection.headers.get("sec-fetch-site")
        if site not in {None, "same-origin", "none"}:
            # Sent also where Origin is not: for an image, a script, a link. A page of another port
            # of this machine is "same-site", and no less a stranger.
            raise NotAllowed(f"a page of another origin ({site}) may not use this API")
        origin = connection.headers.get("origin")
        ours = [f"http://{host}", *([f"https://{host}"] if self.tls else [])]
        if origin is not None and origin not in ours:
            raise NotAllowed(f"a page of {origin!r} may not use this API")

    def _is_ours(self, host: str) -> bool:
        name = _name_in(host)
        return name in self.hosts or is_this_machine(name)


def refuse_ambiguous_paths(connection: Connection, _: BaseRouteHandler) -> None:
    """Refuse a path that the router read otherwise than it was written.

    It decodes %2F before it splits, and drops empty parts: an id like `acme/runs`, or one that is
    empty, would lead to another route than the one that was meant.
    """
    path = connection.scope.get("raw_path") or b""
    if b"%2f" in path.lower() or b"//" in path or (len(path) > 1 and path.endswith(b"/")):
        raise NotFoundException


def require_media(connection: Connection, handler: BaseRouteHandler) -> None:
    """Refuse a POST that is not declared as JSON, or as the `media` that the route is for."""
    if connection.scope.get("method") != "POST":
        return
    kind = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = handler.opt.get("media", "application/json")
    if kind != wanted:
        raise InvalidRequest(
            f"the Content-Type is {kind or 'missing'}",
            hint=f"send the header `Content-Type: {wanted}`, also without a body",
        )


def refuse_unknown_parameters(connection: Connection, handler: BaseRouteHandler) -> None:
    """Refuse parameters that the route does not have: a misspelt filter would list everything."""
    if not connection.scope.get("query_string"):
        return
    fields = handler.parsed_fn_signature.parameters.values()
    known = [
        field.kwarg_definition.name or field.name
        for field in fields
        if isinstance(field.kwarg_definition, QueryParameter)
    ]
    problems = []
    for name in dict.fromkeys(connection.query_params):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"; did you mean `{near[0]}`?" if near else ""
            problems.append(f"`{name}`: there is no such parameter{advice}")
    if problems:
        raise InvalidRequest("; ".join(problems), data={"problems": problems})


def _name_in(host: str) -> str:
    """Return the name in a Host header, in lower case and without its port; empty without one."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
