"""Seals bytes with a tenant's data key: AES-256-GCM, bound to where they belong."""

from __future__ import annotations

import os
from typing import Protocol
from uuid import UUID, uuid4

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.model.errors import SecretUnreadable

KEY_BYTES = 32
_NONCE_BYTES = 12


class WrappingKeys(Protocol):
    """Derives what seals keys: the installation's key those of tenants, these their data keys."""

    @property
    def wraps_as(self) -> str:
        """What tells the key in force from others, and says nothing about it."""
        ...

    def wrapping_key(self, key: UUID, wrapped_by: str) -> bytes | None:
        """Return what seals data key `key`; None when `wrapped_by` names a key that is not here."""
        ...


class WrappedKey(msgspec.Struct, frozen=True):
    """A data key as it is stored. The order is the query's."""

    id: UUID
    wrapped: bytes
    wrapped_by: str


class DataKey:
    """A key of one tenant; its id stands in every row that it has sealed."""

    def __init__(self, id: UUID, secret: bytes) -> None:
        self.id = id
        self.secret = secret
        self._cipher = AESGCM(secret)

    @classmethod
    def generate(cls) -> DataKey:
        """Return a new key."""
        return cls(uuid4(), os.urandom(KEY_BYTES))

    def seal(self, plain: bytes, bound_to: bytes) -> bytes:
        """Return `plain` sealed; only with the same `bound_to` is it opened again."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, self.id.bytes + bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes:
        """Return what was sealed; SecretUnreadable when it was changed, or belongs elsewhere."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, self.id.bytes + bound_to)
        except (InvalidTag, ValueError):
            raise SecretUnreadable(
                "what was sealed can not be opened: it was changed, or belongs to another row",
                hint="set it anew, or bring it back from a backup",
            ) from None

    def wrap(self, keys: WrappingKeys, bound_to: bytes = b"data key") -> WrappedKey:
        """Return the key as it may be stored."""
        wrapping = keys.wrapping_key(self.id, keys.wraps_as)
        assert wrapping is not None  # noqa: S101 - the key in force is always here
        sealed = DataKey(self.id, wrapping).seal(self.secret, bound_to)
        return WrappedKey(self.id, sealed, keys.wraps_as)

    @classmethod
    def unwrap(
        cls, stored: WrappedKey, keys: WrappingKeys, bound_to: bytes = b"data key"
    ) -> DataKey:
        """Return the key that was stored; SecretUnreadable without what it is sealed with."""
        wrapping = keys.wrapping_key(stored.id, stored.wrapped_by)
        if wrapping is None:
            raise SecretUnreadable(
                f"key {stored.id} is sealed with another tenant's or another installation's key",
                hint="put an installation's key of before beside ours as installation.key.former; "
                "see docs/how-to/keep-secrets.md",
            )
        return cls(stored.id, DataKey(stored.id, wrapping).open(stored.wrapped, bound_to))

    def __repr__(self) -> str:
        return f"DataKey({self.id})"
