"""A sweep whose workers are killed: each trial must have one right result."""

import itertools
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

from distributed import Client, WorkerPlugin

from helpers import headless, runs
from helpers.headless import NotebookResult, Trial
from helpers.headless import notebooks as series
from tests.faults import notebooks

NAME = "01_square"
PARAMETERS = notebooks.PARAMETERS + "number: int = 0"
RECORD = """\
import json, pathlib
from helpers.files import write_atomic
record = {"notebook": "01_square", "parameters": {"number": number}}
record["measured"] = {"square": number**2}
write_atomic(pathlib.Path(output, "result.json"), json.dumps(record))"""


class NotebookFrom(WorkerPlugin):
    """Makes all workers, including replacements, use only the notebook in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, worker: object) -> None:
        series.NOTEBOOKS = self.folder
        series.SERIES = (series.Notebook(NAME),)


@contextmanager
def workers(folder: Path, n: int) -> Iterator[Client]:
    """A cluster's client; its workers and this process use a notebook of two short cells."""
    notebooks.write(folder / f"{NAME}.ipynb", RECORD, parameters=PARAMETERS)
    with (
        mock.patch.object(series, "NOTEBOOKS", folder),
        mock.patch.object(series, "SERIES", (series.Notebook(NAME),)),
        headless.open_client(None, n) as client,
    ):
        client.register_plugin(NotebookFrom(folder))
        yield client


def kill_workers_repeatedly(
    trials: int, kills: int, seed: int, folder: Path, on_progress: Callable[[int], object] = int
) -> Counter:
    """Run a sweep and kill a worker `kills` times, at random moments; count the actual `kills`, the
    trials with a `right` result, and those with a `wrong` one or none.
    """
    rng, root = random.Random(seed), folder / "runs"
    moments, ended = set(rng.sample(range(trials), kills)), itertools.count()
    seen = Counter(kills=0, right=0, wrong=0)
    with workers(folder, 2) as client:

        def kill() -> None:
            nanny = rng.choice(list(client.cluster.workers.values()))
            with suppress(ProcessLookupError, TypeError):  # the previous worker is not replaced yet
                os.kill(nanny.pid, signal.SIGKILL)
                seen["kills"] += 1

        def on_done(_: Trial, __: NotebookResult) -> None:
            on_progress(1)
            if next(ended) in moments:
                threading.Timer(rng.uniform(0, 2), kill).start()

        plan = headless.Plan(NAME[:2], {"number": [str(n) for n in range(trials)]}, {})
        all_trials = plan.trials()
        results = headless.run_sweep(all_trials, root, client, on_done=on_done)
    for trial, result in zip(all_trials, results, strict=True):
        right = result.state == "finished" and is_right(trial, root)
        seen["right" if right else "wrong"] += 1
    frame = runs.collect(root)
    seen["wrong"] += abs(len(frame) - trials) + int((frame["state"] != "finished").sum())
    return seen


def is_right(trial: Trial, root: Path) -> bool:
    """Whether the folder of a trial has its record, its notebook and its status, nothing else."""
    folder, number = headless.trial_dir(trial, root), trial.params["number"]
    record = json.loads((folder / NAME / runs.RESULT).read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {f"{NAME}/{NAME}.ipynb", f"{NAME}/{runs.RESULT}", runs.STATUS}
    return record["measured"]["square"] == number**2 and files == expected
