"""What a task reads with `ctx.secret`: a value that shows itself only when asked to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn, Protocol

import msgspec

from orchestrator.model.errors import SecretNotFound

SHORTEST = 6
"""A shorter value is not looked for in what a task leaves behind: it stands there by chance."""


class Secret:
    """A secret of the tenant. It has no JSON form, can not be pickled, and its `repr` hides it.

    >>> key = Secret("api_key", "k-123456")
    >>> f"{key}", key.reveal()
    ("Secret('api_key')", 'k-123456')
    """

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """Return the value."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the secret {self.name!r} can not be pickled; pass on its name")


class SecretLeaked(Exception):
    """What the task left to be stored holds the value of a secret that it has read."""


class Secrets(Protocol):
    """Where a context reads secrets."""

    async def read(self, name: str, /) -> str:
        """Return the value; SecretNotFound when there is none of that name."""
        ...


class GivenSecrets:
    """Secrets that a test gives."""

    def __init__(self, tenant: str, values: Mapping[str, str]) -> None:
        self._tenant = tenant
        self._values = values

    async def read(self, name: str, /) -> str:
        """Return the value that was given."""
        if name not in self._values:
            raise SecretNotFound(self._tenant, name)
        return self._values[name]


class Revealed:
    """The secrets that an attempt has read: what it stores, raises and logs must not hold them."""

    def __init__(self) -> None:
        self._forms: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, value: str) -> None:
        """Look for this one from now on."""
        if len(value) >= SHORTEST:
            # As it is, as JSON holds it, and as a traceback shows it.
            forms = (value, msgspec.json.encode(value).decode()[1:-1], repr(value)[1:-1])
            self._forms[name] = tuple(dict.fromkeys(forms))

    def hide(self, text: str) -> str:
        """Return `text` with names in the place of secrets."""
        found = [(form, name) for name, forms in self._forms.items() for form in forms]
        # The longest first: of one that begins with another, the rest would be left.
        for form, name in sorted(found, key=lambda each: -len(each[0])):
            text = text.replace(form, f"[secret {name}]")
        return text

    def found_in(self, content: bytes) -> str | None:
        """Return the name of a secret that stands in JSON; None when there is none."""
        for name, forms in self._forms.items():
            if any(form.encode() in content for form in forms):
                return name
        return None

    def __bool__(self) -> bool:
        return bool(self._forms)

    def __repr__(self) -> str:
        return "Revealed(…)"


def refuse_secrets(
    what: str, content: bytes | bytearray | memoryview, revealed: Revealed | None
) -> None:
    """Raise SecretLeaked when JSON that is to be stored holds a secret."""
    if revealed and (name := revealed.found_in(bytes(content))) is not None:
        raise SecretLeaked(
            f"{what} holds the secret {name!r}, and secrets are not stored; pass on its name, and "
            "read it where it is used"
        )
