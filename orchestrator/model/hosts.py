"""Which machine a host is."""

from __future__ import annotations

import ipaddress


def is_this_machine(host: str) -> bool:
    """Return whether a host, without its port, is this machine by its name or address.

    >>> is_this_machine("localhost"), is_this_machine("::1"), is_this_machine("10.0.0.1")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
