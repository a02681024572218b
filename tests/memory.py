"""How much memory a process uses. Workers import this, and so nothing heavy."""

import ctypes
import gc
from contextlib import suppress

import psutil


def megabytes() -> float:
    """Of this process, without garbage and, in Linux, without what is free in it."""
    gc.collect()
    with suppress(AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # or several MB could be lost before it shows
    return psutil.Process().memory_info().rss / 1e6
