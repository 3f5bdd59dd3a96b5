"""What the configuration says of the server that keeps the caches of tenants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, urlsplit

from msgspec import Meta

from orchestrator.settings.keys import about
from orchestrator.settings.section import Section

SCHEMES = ("redis", "rediss", "valkey", "valkeys")
OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")

_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0]")


class CacheSection(Section, frozen=True, kw_only=True):
    """Where `ctx.cache` keeps the values of tenants."""

    url: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4000)] | None,
        about(
            "redis:// or valkey:// URL of a server, rediss:// or valkeys:// with TLS, as"
            " `redis://USER:PASSWORD@HOST:PORT/NUMBER`; needs the extra `redis`",
            "daemon",
            absent="each tenant's own schema",
            example="redis://127.0.0.1:6379/0",
        ),
    ] = None

    def __repr__(self) -> str:
        """Leave the URL out: it may hold a password."""
        return "CacheSection()"


def read_cache(
    section: CacheSection,
    resolve: Callable[[str], str],
    fault: Callable[[tuple[str | int, ...], str], None],
) -> str | None:
    """Return the URL with its secrets; what is wrong with it goes to `fault`."""
    if section.url is None:
        return None
    path = ("cache", "url")
    try:
        url = resolve(section.url)
    except ValueError as error:
        fault(path, str(error))
        return None
    for problem in cache_url_problems(url):
        fault(path, problem)
    if find_spec("redis") is None:
        fault(path, "needs a library that is not installed: pip install 'insula[redis]'")
    return url


def cache_url_problems(url: str) -> Iterator[str]:
    """Yield what is wrong with a URL, as sentences without a subject and without its secrets.

    >>> list(cache_url_problems("redis://127.0.0.1:6379/first"))
    ['names no database: it is a number after the port, such as /0']
    """
    if _UNPRINTABLE.search(url):
        yield "has a space, a line break or a control character"
        return
    if not url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        yield f"does not start with {':// or '.join(SCHEMES)}://"
        return
    parts = _parts(url)
    if parts is None:
        yield "has no host:port where one belongs; in a password, write / ? # @ as %2F %3F %23 %40"
        return
    if not re.fullmatch(r"(/\d{0,6})?", parts.path, re.ASCII):
        yield "names no database: it is a number after the port, such as /0"
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if not set(names) <= set(OPTIONS) or (parts.query and not names):
        yield f"has an unknown option; known: {', '.join(OPTIONS)}"


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if is_whole and "#" not in url and parts.netloc.count("@") <= 1 else None
