"""Bad input of each kind, drawn by Hypothesis: it is read right, or refused in a few plain words.

`make test` tries 200 inputs of a kind, always the same ones; `make test-long` tries 10,000.
"""

import copy
import json
import os
import re
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jinja2
import psutil
import pytest
from hypothesis import HealthCheck, Phase, configuration, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisWarning

# what Hypothesis notes for itself stays out of the project
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir(), "hypothesis"))

QUICK, LONG = 200, 10_000  # inputs of a kind
SECONDS, WAITED = 10, 60  # of processor time, and of the clock, for one input: others work as well
MEGABYTES = 1_000  # that one input may take, even for a moment, and that all may leave behind
TALKATIVE = 2_000  # characters of a message: the longest tell two digests, or list what there is
# of Python's own: their words mean nothing to who has written a file
FOREIGN = (UnicodeError, json.JSONDecodeError)


class TooLong(BaseException):
    """An input took too long. No handler of exceptions shall take it for another."""


class Drawn(tuple):
    """One draw of all inputs, which is shown by its beginning: files are long."""

    def __repr__(self) -> str:
        return f"({', '.join(repr(of)[:500] for of in self)})"


class Refused(str):
    """The message with which an input was refused."""


def lengths(share: float = 1) -> pytest.MarkDecorator:
    """Run a test with that share of the inputs of its kind: a few each day, many in the long run.

    The argument `tries` tells it how many.
    """
    quick, long = round(QUICK * share), round(LONG * share)
    values = [
        pytest.param(quick, id="quick"),
        pytest.param(long, id="long", marks=pytest.mark.long),
    ]
    return pytest.mark.parametrize("tries", values)


def fuzz(check: Callable[..., object], *inputs: st.SearchStrategy, tries: int) -> None:
    """Call `check` with so many draws of the inputs; a failure shows the smallest that fails."""

    def within_limits(drawn: tuple) -> None:
        with time_limit(), memory_limit():
            check(*drawn)

    before = psutil.Process().memory_info().rss
    warnings.simplefilter("ignore", HypothesisWarning)  # of long inputs, where one is shown
    options = settings(
        max_examples=tries, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain},
    )  # fmt: skip
    options(given(st.tuples(*inputs).map(Drawn))(within_limits))()
    assert psutil.Process().memory_info().rss - before < MEGABYTES * 1e6


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise TooLong after SECONDS of processor time, or when WAITED seconds have passed.

    Windows cannot tell a process the time, and only a main thread is told.
    """
    if not hasattr(signal, "SIGPROF") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise TooLong

    kinds = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, end) for number in kinds}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITED)
    try:
        yield
    finally:
        for number, kind in kinds.items():
            signal.setitimer(kind, 0)
            signal.signal(number, before[number])


@contextmanager
def memory_limit() -> Iterator[None]:
    """Fail where the process needed MEGABYTES more than before, though it gave them back.

    Only Linux tells the peak. Where it cannot be set back, only one above all before is seen.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # set the peak back to what is needed now
    before = _peak()
    yield
    assert _peak() - before < MEGABYTES * 1_000


def _peak() -> int:
    """The most memory that the process has needed, in kB; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.is_file() else None
    return int(found[1]) if found else 0


def write_pages_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile each template once for all pages of a test, and do not wait for the disk."""
    compile_one = jinja2.Environment.compile
    kept: dict[tuple, Any] = {}

    def compile_once(self: jinja2.Environment, *about: Any) -> Any:
        key = (type(self), *about)
        if key not in kept:
            kept[key] = compile_one(self, *about)
        return kept[key]

    monkeypatch.setattr(jinja2.Environment, "compile", compile_once)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def attempt(call: Callable[[], Any], *errors: type[Exception]) -> Any:
    """What a call returns; or Refused, if it raises one of these errors. All others are faults."""
    try:
        return call()
    except errors as error:
        raised = error
    assert not isinstance(raised, FOREIGN), repr(raised)
    message = str(raised)
    assert message.strip(), repr(raised)
    assert message.count("\n") < 5, message
    assert len(message) < TALKATIVE, message[:TALKATIVE]
    assert "Traceback" not in message
    return Refused(message)


TEXTS = st.text(max_size=12) | st.sampled_from([
    "", ".", "..", "../../outside", "/", "/etc/passwd", "~", "a\0b", "\ud800", "NaN", "None", "-1",
    "1e999", "9" * 400, "²", "٣", "💥", "x" * 300, "<script>alert(1)</script>", '"><b>',
    "{{ 7*7 }}", "a\nb", "\x1b[31m", "C:\\Windows", "a/b", "é", "true",
    "!!python/object/apply:os.getcwd []",
])  # fmt: skip
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**63, 10**30])
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda of: st.lists(of, max_size=3) | st.dictionaries(TEXTS, of, max_size=3),
    max_leaves=4,
)
NESTED = b"[" * 100_000  # deeper than any reader that calls itself can go


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each list or dictionary inside a value, with each of its keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in list(pairs):
        yield value, key
        if isinstance(inside, dict | list):
            yield from _places(inside)


@st.composite
def altered(draw: Callable[..., Any], value: Any, values: st.SearchStrategy = VALUES) -> Any:
    """A copy of nested lists and dictionaries with up to three places that are others, or gone."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        if not (places := list(_places(value))):
            return draw(values)
        where, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["another", "another", "gone", "more"]))
        if how == "another":
            where[key] = draw(values)
        elif how == "gone":
            del where[key]
        elif isinstance(where, dict):
            where[draw(TEXTS)] = draw(values)
        else:
            where.append(draw(values))
    return value


@st.composite
def reworded(draw: Callable[..., Any], value: Any, texts: st.SearchStrategy[str]) -> Any:
    """A copy of nested lists and dictionaries with up to three other texts; names stay."""

    def is_text(inside: Any) -> bool:
        return isinstance(inside, str) and not inside.isidentifier()

    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = [(where, key) for where, key in _places(value) if is_text(where[key])]
        where, key = draw(st.sampled_from(places))
        where[key] = draw(texts)
    return value


@st.composite
def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """A content of which up to three places are cut, grown, changed, or moved."""
    spoilt = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(spoilt)) | st.integers(0, min(64, len(spoilt))))
        end = min(len(spoilt), place + draw(st.integers(1, 64)))
        how = draw(st.sampled_from(["flip", "cut", "end", "begin", "insert", "zero", "again"]))
        if how == "flip" and place < len(spoilt):
            spoilt[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del spoilt[place:end]
        elif how == "end":
            del spoilt[place:]
        elif how == "begin":
            del spoilt[:place]
        elif how == "insert":
            spoilt[place:place] = draw(st.binary(max_size=64))
        elif how == "zero":
            spoilt[place:end] = bytes(end - place)
        elif how == "again":
            spoilt[place:place] = spoilt[place:end]
    return bytes(spoilt)


def json_files(value: Any) -> st.SearchStrategy[bytes]:
    """Contents of a JSON file: another value, or damaged text."""
    sound = json.dumps(value, indent=1).encode()
    return altered(value).map(lambda v: json.dumps(v).encode()) | damaged(sound) | st.just(NESTED)
