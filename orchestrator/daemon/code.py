"""Whether the files that workflows were imported from are still what they were then."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path


class LoadedCode:
    """The code that this process runs: a reload imports nothing again, it only tells of it.

    A workflow's module seldom stands alone: all that is loaded of its outermost package counts.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._packages = {module.partition(".")[0] for module in modules}
        self._digests = {module: _digest(module) for module in self._loaded()}

    def changed(self) -> list[str]:
        """Return the modules whose file is another one by now, or gone; reads all of them.

        One that was imported later counts from the first look at it.
        """
        for module in self._loaded():
            self._digests.setdefault(module, _digest(module))
        return [module for module, digest in self._digests.items() if _digest(module) != digest]

    def _loaded(self) -> list[str]:
        return sorted(name for name in [*sys.modules] if name.partition(".")[0] in self._packages)


def _digest(module: str) -> str | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
    except OSError:
        return None
