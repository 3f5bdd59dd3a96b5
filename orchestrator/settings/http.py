"""What the configuration says of the HTTP API over TCP."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from orchestrator.settings.decode import shown
from orchestrator.settings.keys import Text, about, shaped
from orchestrator.settings.section import Section

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

Host = Annotated[
    str,
    shaped(
        r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?",
        "is a name in lower case, without scheme and port",
    ),
]


class HttpSection(Section, frozen=True, kw_only=True):
    """The HTTP API over TCP; the control socket speaks the same and is always there."""

    listen: Annotated[
        Text | None,
        about(
            "address and port; a loopback address, unless behind_tls_proxy",
            "daemon",
            absent="only the control socket",
            example="127.0.0.1:8088",
        ),
    ] = None
    require_token: Annotated[
        bool,
        about("false: every user of this machine may do everything, without a token", "daemon"),
    ] = True
    behind_tls_proxy: Annotated[
        bool,
        about(
            "true: only a proxy that speaks TLS reaches `listen`, which may be any address;"
            " this daemon itself sends and takes tokens in plain text",
            "daemon",
        ),
    ] = False
    hosts: Annotated[
        list[Host],
        about(
            "names that callers may reach it by (the Host header), besides those of this machine",
            "daemon",
            example=["insula.example.com"],
        ),
    ] = []


def listen_problems(section: HttpSection) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with where to listen, each with its key.

    >>> list(listen_problems(HttpSection(listen="127.0.0.1")))
    [('listen', 'needs a port, for example "127.0.0.1:8088"')]
    """
    if section.listen is not None:
        try:
            address, _ = read_listen(section.listen)
        except ValueError as error:
            yield "listen", str(error)
            return
        yield from _reach_problems(section, section.listen, loopback=address.is_loopback)


def _reach_problems(
    section: HttpSection, listen: str, *, loopback: bool
) -> Iterator[tuple[str, str]]:
    if section.behind_tls_proxy and not section.require_token:
        yield "require_token", "must be true with behind_tls_proxy: others than us may connect"
    if loopback:
        return
    if not section.behind_tls_proxy:
        problem = (
            f"must be a loopback address such as 127.0.0.1, not {listen}: tokens would be sent"
        )
        yield "listen", f"{problem} in plain text. With a TLS proxy before it set behind_tls_proxy"
    elif not section.hosts:
        yield "hosts", f"must name what callers reach it by, since it listens at {listen}"


def read_listen(text: str) -> tuple[IpAddress, int]:
    """Return the address and the port of a text; ValueError says what is wrong with it.

    >>> read_listen("localhost:8088")
    (IPv4Address('127.0.0.1'), 8088)
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ValueError(
            f'must be an address and a port such as "127.0.0.1:8088", not {shown(text)}'
        ) from None
    if port is None or parts.netloc != text:
        raise ValueError(f'needs a port, for example "{text}:8088"')
    return address, port
