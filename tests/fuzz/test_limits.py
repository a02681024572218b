"""The limits per input: a memory peak is noticed, and so are endless work and waiting."""

import os
import signal
import time

import pytest
from hypothesis import strategies as st

from tests import fuzz

ONE = st.just(1)


def work(seconds: int) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is not available"
)
def test_freed_memory_counts_toward_the_limit(monkeypatch):
    monkeypatch.setattr(fuzz, "MEGABYTES", 50)
    with pytest.raises(AssertionError):
        fuzz.fuzz(lambda n: len(b"x" * n * 4 * 10**8), ONE, tries=1)
    fuzz.fuzz(lambda n: len(b"x" * n * 10**6), ONE, tries=1)


@pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="Windows tells a process no time")
@pytest.mark.parametrize(("limit", "check"), [("SECONDS", work), ("WALL_SECONDS", time.sleep)])
def test_work_and_waiting_are_limited(monkeypatch, limit, check):
    monkeypatch.setattr(fuzz, limit, 0.1)
    with pytest.raises(fuzz.TooLong):
        fuzz.fuzz(check, ONE, tries=1)
