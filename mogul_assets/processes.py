"""Whether a process of this machine is still there."""

from __future__ import annotations

import os


def lives(number: int) -> bool:
    """Whether there is a process of this number, whoever's it is."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
