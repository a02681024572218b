"""How are many runs spread over workers?

Dask carries the points to its workers, one to a worker at a time, and brings those of a worker that
has died to another one. Each point has a folder of its own, named by all that it depends on: what
was done is not done again, by whichever sweep.
"""

import errno
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from helpers.files import lock_folder
from helpers.headless.clusters import ClusterError
from helpers.headless.plans import Trial
from helpers.headless.runner import NotebookResult, execute_notebook, finished_notebooks, write_status
from helpers.headless.warm_kernels import in_use
if TYPE_CHECKING:
    from distributed import Client, Future


class TrialError(RuntimeError):
    """A point failed; Dask tries it again if it was told to."""


def trial_dir(point: Trial, root: Path) -> Path:
    """Where a point is run: `<root>/sweeps/<digest>`, in it a folder named like the notebook."""
    return root / "sweeps" / point.digest


def finished_trial(point: Trial, root: Path) -> NotebookResult | None:
    """How the point ended, if it was brought to its end before."""
    return finished_notebooks(trial_dir(point, root)).get(point.notebook)


def run_sweep(
    points: Sequence[Trial],
    root: Path,
    client: "Client",
    *,
    retries: int = 0,
    resources: Mapping[str, float] | None = None,
    cell_timeout: int = 3_600,
    on_done: Callable[[Trial, NotebookResult], object] = lambda *_: None,
    progress: bool = False,
) -> list[NotebookResult]:
    """Run all points on the workers of `client`, and say how each one ended, in their order.

    A point that fails is tried again up to `retries` times; then its notebook is kept as it was
    left, and the others go on. `resources` are what a worker must have for a point, such as
    {"GPU": 1}; a cell longer than `cell_timeout` seconds is stopped. `on_done` is called with each
    point as it ends, those that were done before first. Ctrl-C takes back what has not begun.
    Raises OSError when a disk is full, ClusterError when the scheduler is gone.
    """
    from distributed import Future, as_completed
    from tqdm.auto import tqdm

    ended: dict[str, NotebookResult] = {}
    failed = 0
    bar = tqdm(total=len(points), unit=" points", leave=False, disable=not progress)

    def settle(point: Trial, outcome: NotebookResult) -> None:
        nonlocal failed
        ended[point.digest] = outcome
        failed += outcome.state != "done"
        on_done(point, outcome)
        bar.set_postfix(failed=failed, refresh=False)
        bar.update()

    waiting = {}
    for point in points:
        before = finished_trial(point, root)
        if before is None:
            waiting[point.digest] = point
        else:
            settle(point, before)
    rest = iter(waiting.values())
    begun: dict[str, tuple[Trial, Future]] = {}

    def begin() -> Iterator[Future]:
        """Hand out as many points as there are workers: one that is lost costs no other point."""
        workers = max(1, sum(client.nthreads().values()))
        for point in islice(rest, max(0, workers - len(begun))):
            future = client.submit(
                run_point, point, root, cell_timeout, retries=retries, pure=False,
                resources=dict(resources or {}),
            )  # fmt: skip
            begun[future.key] = (point, future)
            yield future

    try:
        running = as_completed(begin())
        for future in running:
            point, _ = begun.pop(future.key)
            settle(point, _outcome(future, point))
            for another in begin():
                running.add(another)
    finally:
        bar.close()
        client.cancel([future for _, future in begun.values()])
    return [ended[point.digest] for point in points]


def run_trial(point: Trial, root: Path, cell_timeout: int = 3_600) -> NotebookResult:
    """Run one point, in the process that is called; what another process does is waited for.

    Raises PointError if it fails, or if notebook or package are not here what they were where the
    sweep began, as with a worker that came later; OSError if the disk is full.
    """
    folder = trial_dir(point, root)
    if replace(point).digest != point.digest:  # the copy makes its digest here
        message = "the notebook or this package is another one than where the sweep began"
        raise TrialError(json.dumps(asdict(NotebookResult(point.notebook, "failed", message=message))))
    with _held_when_free(folder):
        before = finished_trial(point, root)
        if before is not None:
            return before
        with in_use():
            outcome = execute_notebook(point.notebook, folder, point.given, cell_timeout=cell_timeout)
        write_status(folder, {point.notebook: dict(point.given)}, [outcome])
    if "No space left" in outcome.message:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))
    if outcome.state != "done":
        raise TrialError(json.dumps(asdict(outcome)))
    return outcome


@contextmanager
def _held_when_free(folder: Path) -> Iterator[None]:
    """As `files.held`, but where another sweep runs the same point, its end is waited for."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock_folder(folder))
                break
            except BlockingIOError:
                time.sleep(1)
        yield


def _outcome(future: "Future", point: Trial) -> NotebookResult:
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except TrialError as error:
        return NotebookResult(**json.loads(str(error)))
    except CancelledError as error:
        raise ClusterError(
            "The scheduler is gone. Finished points are kept; the same command goes on."
        ) from error
    except OSError:
        raise
    except KilledWorker as error:
        return NotebookResult(point.notebook, "failed", message=str(error), cause="kernel died")
    except Exception as error:  # of whatever kind: it is this point's, and the others go on
        return NotebookResult(point.notebook, "failed", message=repr(error), cause="not run")


def expected_seconds(notebook: str, left: int, root: Path, processes: int) -> float | None:
    """How long so many points will take, as those did that are done; None if none is."""
    import statistics

    took = []
    for path in root.glob(f"sweeps/*/{series.STATUS}"):
        with suppress(ValueError, KeyError):  # one that is damaged says nothing of the others
            took += [
                entry["seconds"]
                for entry in json.loads(path.read_text())["notebooks"]
                if entry["state"] == "done" and entry["notebook"] == notebook
            ]
    return statistics.median(took) * left / processes if took else None
