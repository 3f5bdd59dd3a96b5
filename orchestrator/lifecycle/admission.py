"""Lets a node in whose installation key is the installation's, and nobody else.

With another key it would give every tenant other passwords, which locks it out on the other nodes,
and seal what these can not open.
"""

from __future__ import annotations

from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.model.errors import InstallationKeyDiffers
from orchestrator.store.connect import Connection, translated
from orchestrator.store.control import installation

_SHOWN = 8
"""Characters of a key's name that people compare."""


async def admit(connection: Connection, key: InstallationKey, *, node: str) -> None:
    """Have the installation go by `key`, if it goes by none yet, by this one or by its former.

    The node is registered by now: of one with the former key and one with the new one that start at
    once, the first to come here wins. Raises InstallationKeyDiffers with nothing changed.
    """
    with translated("the installation key can not be compared"):
        async with connection.transaction():
            known = await installation.lock_key(connection)
            if known == key.wraps_as:
                return
            if known is not None:
                if not key.replaces(known):
                    raise _differs(key, known)
                others = await installation.living(connection, beside=node)
                if others:
                    raise _too_early(key, others)
            await installation.set_key(connection, key.wraps_as, node=node)


def _differs(key: InstallationKey, known: str) -> InstallationKeyDiffers:
    return InstallationKeyDiffers(
        f"this node's installation key ({key.path}, {key.wraps_as[:_SHOWN]}…) is not the one of "
        f"the installation ({known[:_SHOWN]}…): it would lock the tenants out on the other nodes",
        hint="copy installation.key of a node that serves over it; to replace the key of the "
        "installation, put its former one beside it as installation.key.former, or an empty file "
        "when that is lost, and with it all that is sealed",
        data={"installation": known, "node": key.wraps_as},
    )


def _too_early(key: InstallationKey, others: list[str]) -> InstallationKeyDiffers:
    names = ", ".join(map(repr, others))
    return InstallationKeyDiffers(
        f"the installation key is to be replaced, and nodes serve with the former one: {names}",
        hint="stop them, start this one, and then them with both files, installation.key and "
        "installation.key.former",
        data={"nodes": others, "node": key.wraps_as},
    )
