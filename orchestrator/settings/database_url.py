"""What is wrong with a database URL, said before anybody connects and without its secrets.

No sentence here quotes a part of the login, and none quotes a part that an unescaped / or @ may
have cut off from the password.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote_to_bytes

from orchestrator.settings.decode import suggest

SCHEMES = ("postgresql", "postgres")
ESCAPES = "in a password, write / ? # @ : % as %2F %3F %23 %40 %3A %25"

_URL = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?P<netloc>[^/?#]*)(?P<path>[^?#]*)(\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%[^\]]+)?\]|[^\s:\[\]]*)(?::(?P<port>[^:]*))?")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0]")
_OPTION = re.compile(r"[a-z_]{1,40}")
_TLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

Check = Callable[[str], str]


def url_problems(url: str) -> list[str]:
    """Return everything that is wrong with a `postgresql://` URL, as sentences without a subject.

    >>> url_problems("postgresql://app@db.example:99999/main?sslmode=on")[0]
    'needs ports from 1 to 65535, as numbers'
    """
    if not url:
        return ["is empty"]
    if _UNPRINTABLE.search(url):
        return [f"has a space, a line break or a control character; {ESCAPES}, a space as %20"]
    if not url.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        return ["does not start with postgresql://"]
    parts = _URL.fullmatch(url)
    if parts is None:
        return [f"has a #, which is no part of it; {ESCAPES}"]
    login, at, hosts = parts["netloc"].rpartition("@")
    if "@" in login or "@" in parts["path"] or "@" in (parts["query"] or ""):
        return [f"has an @ too many, or a / or ? before it; {ESCAPES}"]
    named = ("user", login), ("database", parts["path"][1:]), ("query", parts["query"] or "")
    problems = [problem for what, text in named if (problem := _percent_problem(what, text))]
    if login.count(":") > 1:
        problems.append(f"has a : too many before the @; {ESCAPES}")
    problems += _host_problems(hosts, is_login_known=bool(at))
    if parts["query"] is not None and not problems:
        problems += _query_problems(parts["query"])
    return problems


def _percent_problem(what: str, text: str) -> str:
    whose = "user or password" if what == "user" else what
    if _LONE_PERCENT.search(text):
        return f"has a % in the {whose} that begins no code such as %40; write it as %25"
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return f"has percent codes in the {whose} that are no UTF-8 text"
    return f"has a NUL character in the {whose}" if "\0" in decoded else ""


def _host_problems(hosts: str, *, is_login_known: bool) -> Iterator[str]:
    found = [_HOST.fullmatch(each) for each in hosts.split(",")]
    if not all(found):
        yield f"has no host:port where one belongs; {ESCAPES}"
    elif any(each and each["port"] is not None and not _is_port(each["port"]) for each in found):
        # Without an @ what looks like a port may be a password that a / cut in two.
        yield f"needs ports from 1 to 65535, as numbers{'' if is_login_known else '; ' + ESCAPES}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _query_problems(query: str) -> Iterator[str]:
    seen: set[str] = set()
    for part in query.split("&"):
        name, equals, _ = part.partition("=")
        if not equals or not _OPTION.fullmatch(name):
            yield f"has something after the ? that is not OPTION=VALUE; {ESCAPES}"
            continue
        if name in seen:
            yield f"has the option {name!r} twice"
        seen.add(name)
        ((_, value),) = parse_qsl(part, keep_blank_values=True)
        if problem := _option_problem(name, value):
            yield problem


def _option_problem(name: str, value: str) -> str:
    if name in _OURS:
        return f"has the option {name!r}; {_OURS[name]}"
    if name not in _CHECKS:
        return f"has an unknown option {name!r}{suggest(name, _CHECKS, what='known')}"
    if not value:
        return f"has the option {name!r} without a value"
    problem = _CHECKS[name](value)
    return f"has a wrong {name!r}: {problem}" if problem else ""


def _anything(_: str) -> str:
    return ""


def _one_of(*choices: str) -> Check:
    return lambda value: "" if value in choices else f"it is one of {', '.join(choices)}"


def _ports(value: str) -> str:
    return "" if all(map(_is_port, value.split(","))) else "a port is a number from 1 to 65535"


def _file(value: str) -> str:
    path = Path(value)
    if not path.is_absolute():
        return "it is the absolute path of a file"
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        return f"{value!r} can not be read: {error.strerror}"


_OURS: Mapping[str, str] = {
    "application_name": "Insula names its connections itself",
    "connect_timeout": "write database.connect_timeout instead",
}
_CHECKS: Mapping[str, Check] = {
    "host": _anything,
    "port": _ports,
    "user": _anything,
    "password": _anything,
    "dbname": _anything,
    "database": _anything,
    "options": _anything,
    "passfile": _file,
    "sslmode": _one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": _one_of("postgres", "direct"),
    "sslcert": _file,
    "sslkey": _file,
    "sslrootcert": _file,
    "sslcrl": _file,
    "sslpassword": _anything,
    "ssl_min_protocol_version": _one_of(*_TLS),
    "ssl_max_protocol_version": _one_of(*_TLS),
    "target_session_attrs": _one_of(
        "any", "read-write", "read-only", "primary", "standby", "prefer-standby"
    ),
    "krbsrvname": _anything,
    "gsslib": _one_of("gssapi", "sspi"),
}
"""What the driver knows; any other word would go to the server as a setting, and fail there."""
