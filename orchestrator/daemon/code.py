"""Whether the files that workflows were imported from are still what they were then."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path


class LoadedCode:
    """The code that this process runs: a reload imports nothing again, it only tells of it."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._digests = {module: _digest(module) for module in modules}

    def changed(self) -> list[str]:
        """Return the modules whose file is another one by now, or gone; reads all of them."""
        return [module for module, digest in self._digests.items() if _digest(module) != digest]


def _digest(module: str) -> str | None:
    path = getattr(sys.modules.get(module), "__file__", None)
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
    except OSError:
        return None
