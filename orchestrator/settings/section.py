"""What every table of the configuration file is."""

from __future__ import annotations

from msgspec import Struct


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A table of the file; an unknown key in it is an error.

    What comes out of a file has no cycles: the garbage collector is spared ten thousand tenants.
    """
