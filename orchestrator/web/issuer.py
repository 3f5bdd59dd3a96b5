"""The keys that an issuer of tokens publishes (RFC 7517): read off the event loop, and kept.

A request waits for the issuer only when there is no key that it could be proven with, and then all
such requests wait for one reading. Keys that are old are used while they are read again beside it.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import jwt
import msgspec
import structlog

from orchestrator.model.errors import IssuerUnavailable
from orchestrator.model.hosts import is_this_machine

FRESH_SECONDS = 300.0
"""For so long what was read holds: a key that the issuer withdrew is good for that time."""

STALE_SECONDS = 3600.0
"""For so long it holds while the issuer can not be asked."""

LOOK_AGAIN_SECONDS = 5.0
"""How soon it is read again for a key that was not there, or after it could not be read."""

MAX_BYTES = 2**20

log = structlog.get_logger(__name__)


class KeptKeys:
    """What was read and when, and so whether to read again; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._why: str | None = "they were not read yet"

    def has(self, kid: str) -> bool:
        """Tell whether there is such a key that may be used."""
        return kid in self._keys and self._younger(self._read_at, STALE_SECONDS)

    def may_look(self) -> bool:
        """Tell whether it is long enough ago that somebody looked."""
        return not self._younger(self._tried_at, LOOK_AGAIN_SECONDS)

    @property
    def is_old(self) -> bool:
        """Whether the keys that are used should be read again."""
        return not self._younger(self._read_at, FRESH_SECONDS) and self.may_look()

    def begin(self) -> None:
        """Note that somebody looks now."""
        self._tried_at = self._clock()

    def read(self, keys: dict[str, jwt.PyJWK]) -> None:
        """Keep what was read."""
        self._keys = keys
        self._read_at = self._tried_at = self._clock()
        self._why = None

    def failed(self, why: str) -> None:
        """Note why they could not be read."""
        self._tried_at = self._clock()
        self._why = why

    def find(self, kid: str) -> jwt.PyJWK:
        """Return a key; ValueError when there is none, IssuerUnavailable when nobody can tell."""
        if self.has(kid):
            return self._keys[kid]
        if self._why is None and self._younger(self._read_at, STALE_SECONDS):
            raise ValueError("no key of the issuer has signed it")
        why = self._why or "it has not answered for long"
        raise IssuerUnavailable(
            f"the keys of the issuer can not be read: {why}",
            hint="see whether its address answers here; the log has `issuer.not_read`",
            retry_after=LOOK_AGAIN_SECONDS,
        )

    def _younger(self, moment: float | None, seconds: float) -> bool:
        return moment is not None and self._clock() - moment < seconds


class IssuerKeys:
    """The keys at `url`, for `jwt_verifier`; one for all requests of the application.

    An issuer that has not answered within `timeout` seconds counts as away. ValueError for an
    address that others could answer at: it is https, or of this machine.

    >>> verify = jwt_verifier(IssuerKeys("https://id.example.com/jwks"), algorithms=["RS256"])
    ... # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        trusted: ssl.SSLContext | None = None,
        kept: KeptKeys | None = None,
    ) -> None:
        parts = urlsplit(url)
        local = parts.scheme == "http" and is_this_machine(parts.hostname or "")
        if parts.scheme != "https" and not local:
            raise ValueError(f"the keys of an issuer come over https, not from {url!r}")
        self._url = url
        self._timeout = timeout
        # Made once: it takes longer than the rest of a reading.
        self._trusted = trusted or httpx.create_ssl_context()
        self._kept = kept or KeptKeys()
        self._waiting = anyio.Lock()
        self._reading = threading.Lock()
        self._in_thread = threading.Lock()

    def find(self, kid: str) -> jwt.PyJWK:
        """Return a key that is there, without waiting.

        Raises ValueError when the issuer has none of that name, IssuerUnavailable when that can not
        be told.
        """
        return self._kept.find(kid)

    async def prepare(self, kid: str) -> None:
        """Have a key read if there is none of that name; others are served meanwhile."""
        if self._is_there(kid):
            return
        async with self._waiting:
            if self._kept.has(kid) or not self._kept.may_look():
                return  # somebody has read them while we waited
            with anyio.move_on_after(self._timeout) as patience:
                # A name that nobody resolves holds the thread for longer than anybody waits.
                await anyio.to_thread.run_sync(self._read, abandon_on_cancel=True)
            if patience.cancelled_caught:
                self._kept.failed(f"no answer in {self._timeout:g} s")

    def prepare_now(self, kid: str) -> None:
        """Do as `prepare`, in a thread that may wait."""
        if self._is_there(kid):
            return
        with self._reading:
            if not self._kept.has(kid) and self._kept.may_look():
                self._read()

    def _is_there(self, kid: str) -> bool:
        """Tell whether nobody has to wait; keys that are old are read again by nobody's request."""
        if not self._kept.has(kid):
            return False
        if self._kept.is_old:
            self._kept.begin()
            threading.Thread(target=self._read, name="insula issuer", daemon=True).start()
        return True

    def _read(self) -> None:
        """Read the keys, and keep them or why not; of several threads one does."""
        if not self._in_thread.acquire(blocking=False):
            return
        try:
            self._kept.begin()
            self._kept.read(_signing_keys(self._fetched()))
        except Exception as error:  # noqa: BLE001 - whatever it sends, then it has no keys for us
            log.warning("issuer.not_read", url=self._url, error=str(error))
            self._kept.failed(str(error))
        finally:
            self._in_thread.release()

    def _fetched(self) -> bytes:
        """Return what the issuer answers; each part of it may take the time that all may."""
        content, until = bytearray(), time.monotonic() + self._timeout
        with (
            httpx.Client(timeout=self._timeout, verify=self._trusted) as client,
            client.stream("GET", self._url, headers={"Accept": "application/json"}) as answer,
        ):
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > MAX_BYTES or time.monotonic() > until:
                    raise ValueError("its answer has no end")
        return bytes(content)


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


def _signing_keys(content: bytes) -> dict[str, jwt.PyJWK]:
    """Return the keys of a key set that sign, by their names."""
    found = jwt.PyJWKSet(msgspec.json.decode(content, type=_KeySet).keys)
    return {
        key.key_id: key for key in found.keys if key.key_id and key.public_key_use in {"sig", None}
    }
