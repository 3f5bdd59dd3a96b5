"""What a token of the API looks like, and how little of it is kept.

`insula_<id>_<secret><checksum>`: the prefix and the checksum let a scanner find one that was
published by mistake, and let the daemon drop what can not be one without asking the database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib

import msgspec

PREFIX = "insula"
ID_BYTES, SECRET_BYTES = 8, 32
SECRET_DIGITS, CHECKSUM_DIGITS = 43, 6
"""Digits of base 62 that hold 256 bits, and 32."""

ID_PATTERN = r"^[0-9a-f]{16}$(?!\n)"
PATTERN = rf"{PREFIX}_[0-9a-f]{{16}}_[0-9A-Za-z]{{49}}"
"""Whole tokens, for the rules of a secret scanner."""

_TOKEN = re.compile(PATTERN, re.ASCII)
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_NOBODYS = secrets.token_bytes(32)


class Bearer(msgspec.Struct, frozen=True):
    """A token as it is kept: `id` names it, `hash` proves it.

    One round of SHA-256 is enough: nobody guesses 256 random bits, however fast the hash is, so
    what slows down the guessing of passwords would only slow down requests.
    """

    id: str
    hash: bytes

    def proves(self, kept: bytes | None) -> bool:
        """Tell whether it is the token whose hash is `kept`, in the same time if there is none."""
        return hmac.compare_digest(self.hash, kept or _NOBODYS)


def new_token() -> tuple[str, Bearer]:
    """Return a token to hand out once, and what is kept of it."""
    secret = int.from_bytes(secrets.token_bytes(SECRET_BYTES))
    body = f"{PREFIX}_{secrets.token_hex(ID_BYTES)}_{_digits(secret, SECRET_DIGITS)}"
    text = body + _checksum(body)
    return text, _bearer(text)


def read_token(text: str) -> Bearer | None:
    """Return what is kept of a token; None for what can not be one.

    >>> read_token("insula_0000000000000000_guessed") is None
    True
    """
    body, checksum = text[:-CHECKSUM_DIGITS], text[-CHECKSUM_DIGITS:]
    if _TOKEN.fullmatch(text) is None or _checksum(body) != checksum:
        return None
    return _bearer(text)


def _bearer(text: str) -> Bearer:
    return Bearer(text.split("_")[1], hashlib.sha256(text.encode()).digest())


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), CHECKSUM_DIGITS)


def _digits(number: int, count: int) -> str:
    found = []
    for _ in range(count):
        number, digit = divmod(number, len(_DIGITS))
        found.append(_DIGITS[digit])
    return "".join(reversed(found))
