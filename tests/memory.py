"""The memory use of a process. Workers import this, so it must import quickly."""

import ctypes
import gc
from contextlib import suppress

import psutil


def megabytes() -> float:
    """Resident memory of this process, without garbage and, on Linux, without freed memory."""
    gc.collect()
    with suppress(AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)  # else several MB could vary
    return psutil.Process().memory_info().rss / 1e6
