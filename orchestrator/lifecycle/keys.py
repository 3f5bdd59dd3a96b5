"""The installation key, from which every tenant's passwords are derived."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from orchestrator.model.errors import StartError

_NAME = "installation.key"
_FORMER = "installation.key.former"
_BYTES = 32
# RFC 7677 asks for 4096 at least; the passwords are 256 random bits, so more would buy nothing.
_SCRAM_ITERATIONS = 4096


class InstallationKey:
    """A secret of this installation: no password is stored, so none can leak from a backup.

    >>> key = InstallationKey.load_or_create(Path("/var/lib/insula"))
    >>> key.password("insula_e_acme")
    """

    def __init__(
        self,
        secret: bytes,
        former: InstallationKey | None = None,
        *,
        path: Path = Path(_NAME),
        former_is_lost: bool = False,
    ) -> None:
        if len(secret) != _BYTES:
            raise ValueError(f"an installation key has {_BYTES} bytes")
        self.path = path
        self._secret = secret
        self._former = former
        self._former_is_lost = former_is_lost

    @classmethod
    def load_or_create(
        cls, state_dir: Path, *, environ: Mapping[str, str] | None = None
    ) -> InstallationKey:
        """Read the key: the systemd credential `installation.key` first, else the state directory.

        Without either, a new key is written to the state directory, complete or not at all.
        `installation.key.former` beside it is the key of before, which opens what that has sealed;
        an empty one says that it is lost.
        Raises StartError for a file that is no key, rather than locking every tenant out.
        """
        credentials = (os.environ if environ is None else environ).get("CREDENTIALS_DIRECTORY")
        path = state_dir / _NAME
        if credentials and (found := Path(credentials) / _NAME).exists():
            path = found
        elif not path.exists():
            _create(path)
        former = path.with_name(_FORMER)
        if not former.exists():
            return cls(_read(path), path=path)
        if former.stat().st_size == 0:
            return cls(_read(path), path=path, former_is_lost=True)
        return cls(_read(path), cls(_read(former)), path=path)

    def password(self, role: str, rotation: int = 0) -> str:
        """Return the password of a login role; a new rotation gives a new one."""
        return base64.urlsafe_b64encode(self._derive("password", role, rotation)).decode()

    def verifier(self, role: str, rotation: int = 0) -> str:
        """Return what the server keeps of that password (SCRAM-SHA-256, RFC 5803).

        DDL carries this in place of the password, so no statement log ever has one. The salt
        is derived too, so the same password always gives the same verifier.
        """
        salt = self._derive("salt", role, rotation)[:16]
        password = self.password(role, rotation).encode()
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, _SCRAM_ITERATIONS)
        client = hmac.digest(salted, b"Client Key", "sha256")
        stored = base64.b64encode(hashlib.sha256(client).digest()).decode()
        server = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
        salt_text = base64.b64encode(salt).decode()
        return f"SCRAM-SHA-256${_SCRAM_ITERATIONS}:{salt_text}${stored}:{server}"

    def fingerprint(self, *parts: str, rotation: int = 0) -> str:
        """Return what tells two keys apart without saying anything about them."""
        return self._derive("fingerprint", "\0".join(parts), rotation).hex()[:32]

    def seal(self, content: bytes) -> str:
        """Return what only this installation can have said of `content`."""
        return self._derive("archive", hashlib.sha256(content).hexdigest(), 0).hex()

    @property
    def wraps_as(self) -> str:
        """What tells this key from others in what it has wrapped."""
        return self.fingerprint("wrapping")

    def replaces(self, known: str) -> bool:
        """Return whether it may take the place of the key of that name: its former, or any."""
        former = self._former
        return self._former_is_lost or (former is not None and former.wraps_as == known)

    def wrapping_key(self, key: UUID, wrapped_by: str) -> bytes | None:
        """Return what seals data key `key`; None when `wrapped_by` is neither this nor the former.

        >>> key.wrapping_key(UUID(int=1), key.wraps_as)
        b'…'
        """
        if wrapped_by == self.wraps_as:
            return self._derive("wrapping", str(key), 0)
        return None if self._former is None else self._former.wrapping_key(key, wrapped_by)

    def _derive(self, purpose: str, subject: str, rotation: int) -> bytes:
        message = f"insula {purpose}\0{subject}\0{rotation}".encode()
        return hmac.digest(self._secret, message, "sha256")

    def __repr__(self) -> str:
        return "InstallationKey(…)"


def _read(path: Path) -> bytes:
    try:
        text = path.read_text(encoding="ascii").strip()
        secret = bytes.fromhex(text)
    except OSError as error:
        raise StartError(
            f"the installation key {path} can not be read: {error.strerror}",
            hint="it belongs to the user that runs the daemon, mode 0600",
        ) from error
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise StartError(
            f"{path} is not an installation key: it should be {2 * _BYTES} hexadecimal digits",
            hint="bring it back from a backup, or from another node; if it is lost: "
            "docs/how-to/use-your-own-postgresql.md",
        )
    return secret


def _create(path: Path) -> None:
    """Write a new key so that a crash leaves a whole one or none, and a race leaves one."""
    try:
        descriptor, building = tempfile.mkstemp(prefix=f"{_NAME}.", suffix=".new", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(_BYTES).hex().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # link fails where rename would replace: who comes second takes the first one's key.
            with suppress(FileExistsError):
                path.hardlink_to(building)
        finally:
            Path(building).unlink()
        _sync(path.parent)
    except OSError as error:
        raise StartError(
            f"the installation key {path} can not be written: {error.strerror}",
            hint="make room there, or choose another state directory: [node] state_dir, or "
            "INSULA_STATE_DIR",
        ) from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
