"""Lengths of time and sizes as people write them: "1h30m", "1MiB"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Self

_UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_CHARACTERS = 100
"""No length of time or size needs more, and what is longer takes long to look at."""

_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in _UNITS), re.ASCII)
_SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", re.ASCII)


class Duration(timedelta):
    """A length of time that can be spelled in a file.

    >>> Duration.parse("1h30m").total_seconds()
    5400.0
    >>> str(Duration.parse("90s"))
    '1m30s'
    """

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read numbers with a unit each (w d h m s ms), largest first; raises ValueError."""
        match = _DURATION.fullmatch(text[: _CHARACTERS + 1])
        if not match or not 0 < len(text) <= _CHARACTERS:
            raise ValueError(
                f'{text[:_CHARACTERS]!r} is not a duration (write "250ms", "30s", "1h30m" or "30d")'
            )
        numbers = zip(match.groups(), _UNITS.values(), strict=True)
        try:
            return cls(milliseconds=sum(float(number) * unit for number, unit in numbers if number))
        except OverflowError:
            raise ValueError(f"{text!r} is longer than any duration we can hold") from None

    def __str__(self) -> str:
        """Return the spelling that `parse` reads back; a fraction of a millisecond is lost."""
        left = self // timedelta(milliseconds=1)
        parts: list[str] = []
        for unit in ("d", "h", "m", "s", "ms"):
            count, left = divmod(left, _UNITS[unit])
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Read a number of bytes with a unit such as kB, MB, KiB, MiB; raises ValueError.

    >>> parse_size("1MiB")
    1048576
    """
    match = _SIZE.fullmatch(text[: _CHARACTERS + 1])
    if not match or len(text) > _CHARACTERS or match[2] not in _SIZES:
        raise ValueError(
            f'{text[:_CHARACTERS]!r} is not a size (write "500kB", "1MiB" or a number of bytes)'
        )
    return round(float(match[1]) * _SIZES[match[2]])


def dec_hook(kind: type, value: Any) -> Any:
    """Decode a Duration for msgspec."""
    if kind is Duration:
        if isinstance(value, str):
            return Duration.parse(value)
        raise ValueError(f'{value!r} is not a duration: write it with a unit, for example "30s"')
    raise NotImplementedError(f"no decoder for {kind.__name__}")


def enc_hook(value: Any) -> Any:
    """Encode a Duration for msgspec, so that `dec_hook` reads it back."""
    if isinstance(value, Duration):
        return str(value)
    raise NotImplementedError(f"no encoder for {type(value).__name__}")
