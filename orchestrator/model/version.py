"""Which Insula this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the version that is installed; a checkout that is only on the path has none."""
    try:
        return metadata.version("insula")
    except metadata.PackageNotFoundError:
        return "not installed"
