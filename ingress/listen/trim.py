"""Memory that was needed for a while, given back to the system."""

import ctypes
from contextlib import suppress


def trim() -> None:
    """Give back what malloc keeps of memory that was freed; nothing where the C library cannot (it is not glibc)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
