"""How often the process searches for garbage that reference counts do not find: seldom."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000
"""How many more objects there are before a search of the young ones.

Python's own 700 are made by 50 attempts, and nearly all of them live until their flush: with 1,000
runs in flight a quarter of the CPU time went into searches that found nothing.
"""

SEARCHES_BEFORE_OLDER = 20


def search_seldom() -> None:
    """Set what has been made so far aside for good, and search the rest less often.

    To be called once, when modules and tenants are loaded and nobody is served yet: to walk over
    them takes longer than an answer may, and most of all during recovery.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, SEARCHES_BEFORE_OLDER, SEARCHES_BEFORE_OLDER)
