"""Which Insula this is."""

from __future__ import annotations


def version() -> str:
    """Return the version that is installed; a checkout that is only on the path has none."""
    from importlib import metadata  # noqa: PLC0415 - it loads a mail parser, and few ask

    try:
        return metadata.version("insula")
    except metadata.PackageNotFoundError:
        return "not installed"
