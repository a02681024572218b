"""Progress: a bar in an interactive session, lines in a log. Unknown names."""

import os
import threading
import time

import pytest

from helpers import messages
from helpers.messages import ProgressLog, progress_bar, unknown_name


@pytest.mark.parametrize(
    ("environment", "terminal", "interactive"),
    [
        (
            {"JPY_SESSION_NAME": "a.ipynb", "JPY_PARENT_PID": "1"},
            False,
            True,
        ),  # a notebook in JupyterLab
        ({"JPY_PARENT_PID": "1"}, True, False),  # papermill, started from a terminal
        ({}, True, True),
        ({}, False, False),  # a log file
    ],
)
def test_interactive_sessions_are_detected(monkeypatch, environment, terminal, interactive):
    for name in ("JPY_SESSION_NAME", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "isatty", lambda handle: terminal and handle == 2)
    assert messages.is_interactive() is interactive


def test_a_log_prints_lines_regularly_even_without_progress(monkeypatch, capsys):
    monkeypatch.setattr(ProgressLog, "INTERVAL", 0.02)
    lines = []
    with progress_bar("log", total=200, unit=" images", desc="epoch 1/2") as bar:
        bar.update(50)
        deadline = time.monotonic() + 60
        while len(lines) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            printed = capsys.readouterr().err.splitlines()
            lines += [line for line in printed if " 0 %" not in line]  # before the update
    assert len(lines) >= 3
    assert all(line.startswith("epoch 1/2: 25 %, 50 of 200 images, 00:0") for line in lines)
    assert all(line.endswith(" left") for line in lines)
    time.sleep(0.1)
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # it ends with the loop


def test_the_time_left_goes_down_during_a_long_step(monkeypatch):
    with progress_bar("log", total=4, unit=" trials", smoothing=0) as bar:
        now = bar.start_t
        monkeypatch.setattr(bar, "_time", lambda: now)

        def left() -> str:
            return str(bar).split(", ")[3]

        assert left() == "? left"
        now += 100
        bar.update()
        assert left() == "05:00 left"  # three of 100 s each
        now += 60
        assert left() == "04:00 left"


@pytest.mark.parametrize(("show", "interactive", "drawn"), [
    (None, True, True), (None, False, False), (True, False, True), (False, True, False),
])  # fmt: skip
def test_a_bar_is_shown_on_request_or_interactively(monkeypatch, capsys, show, interactive, drawn):
    monkeypatch.setattr(messages, "is_interactive", lambda: interactive)
    with progress_bar(show, total=2) as bar:
        bar.update()
    assert ("/2 [" in capsys.readouterr().err) == drawn


def test_an_unknown_name_gets_a_suggestion():
    assert unknown_name("data set", "mnst", ("mnist", "fashion_mnist")) == (
        "There is no data set 'mnst'. Did you mean 'mnist'? Choose one of: mnist, fashion_mnist."
    )
    assert unknown_name("recipe", "z", ["fast"]) == "There is no recipe 'z'. Choose one of: fast."
    assert unknown_name("parameter", "x", []) == "There is no parameter 'x'."


def test_the_log_thread_is_a_daemon_and_the_log_counts_iterations():
    before = set(threading.enumerate())
    log = ProgressLog([1, 2, 3])
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    assert list(log) == [1, 2, 3]
    assert (log.n, log.total) == (3, 3)
    thread.join()  # the log has ended
