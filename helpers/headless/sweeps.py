"""Run many trials on the workers of a Dask cluster, on this machine or on others.

The trial of a worker that dies is given to another one. Each trial has a folder that is named by
everything it depends on, so a finished trial is never run again, by whichever sweep.
"""

import errno
import json
import logging
import os
import statistics
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.files import lock_folder, write_atomic
from helpers.headless import plans, runner
from helpers.headless.plans import Trial
from helpers.headless.runner import NotebookResult
from helpers.messages import Show, progress_bar
from helpers.runs import STATUS

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_TIMEOUT = 15  # seconds that a scheduler has to answer


class TrialError(RuntimeError):
    """A trial failed. Dask retries it if it was asked to."""


class ClusterError(RuntimeError):
    """The workers cannot be used; the message says why, and what to do."""


def trial_dir(trial: Trial, root: Path) -> Path:
    """The folder of a trial: `<root>/sweeps/<digest>`, with a folder named like the notebook."""
    return root / "sweeps" / trial.digest


def finished_trial(trial: Trial, root: Path) -> NotebookResult | None:
    """The result of a trial that was finished before, or None."""
    return runner.finished_notebooks(trial_dir(trial, root)).get(trial.notebook)


def run_sweep(
    trials: Sequence[Trial],
    root: Path,
    client: "Client",
    *,
    retries: int = 0,
    resources: Mapping[str, float] | None = None,
    cell_timeout: int = 3_600,
    on_done: Callable[[Trial, NotebookResult], object] = lambda *_: None,
    progress: Show = None,
) -> list[NotebookResult]:
    """Run all trials on the workers of `client`; returns their results in the same order.

    A trial that fails is retried up to `retries` times; then its notebook is kept and the others go
    on. `resources` are what a worker must have for a trial, such as {"GPU": 1}. `on_done` is called
    for each trial when it ends, finished ones first. Ctrl-C cancels what has not started. Raises
    OSError when a disk is full, and ClusterError when the scheduler is gone.
    """
    results: dict[str, NotebookResult] = {}
    bar = progress_bar(progress, total=len(trials), unit=" trials", desc="sweep")

    def finish(trial: Trial, result: NotebookResult) -> None:
        results[trial.digest] = result
        on_done(trial, result)
        failed = sum(result.state != "finished" for result in results.values())
        bar.set_postfix(failed=failed, refresh=False)
        bar.update()

    waiting = {}
    for trial in trials:
        if (before := finished_trial(trial, root)) is None:
            waiting[trial.digest] = trial
        else:
            finish(trial, before)
    options = {"retries": retries, "resources": dict(resources or {})}
    with bar, closing(_completed(client, waiting.values(), (root, cell_timeout), options)) as pairs:
        for trial, result in pairs:
            finish(trial, result)
    return [results[trial.digest] for trial in trials]


def _completed(
    client: "Client", trials: Iterable[Trial], arguments: tuple, options: Mapping[str, Any]
) -> Generator[tuple[Trial, NotebookResult], None, None]:
    """Run trials on the workers and yield each with its result when it ends.

    No more are submitted than there are workers, so a lost worker costs no other trial.
    """
    from distributed import as_completed

    rest = iter(trials)
    running: dict[str, tuple[Trial, Future]] = {}

    def submit() -> "Iterator[Future]":
        workers = max(1, sum(client.nthreads().values()))
        for trial in islice(rest, max(0, workers - len(running))):
            future = client.submit(run_trial, trial, *arguments, pure=False, **options)
            running[future.key] = (trial, future)
            yield future

    try:
        completed = as_completed(submit())
        for future in completed:
            trial, _ = running.pop(future.key)
            yield trial, _result_of(future, trial)
            for another in submit():
                completed.add(another)
    finally:
        client.cancel([future for _, future in running.values()])


def run_trial(trial: Trial, root: Path, cell_timeout: int = 3_600) -> NotebookResult:
    """Run one trial in this process; if another process is running it, wait for that one.
    Raises TrialError if it fails, or if notebook or package differ from those where the sweep
    started (a worker may join later); OSError if the disk is full.
    """
    folder = trial_dir(trial, root)
    if replace(trial).digest != trial.digest:  # the copy computes its digest here
        message = "the notebook or this package differs from the one where the sweep started"
        result = NotebookResult(trial.notebook, "failed", message=message)
        raise TrialError(json.dumps(asdict(result)))
    with lock_folder(folder, wait=True):
        if (before := finished_trial(trial, root)) is not None:
            return before
        # Dask sets it for its workers, and so for kernels; training takes a third longer with it
        os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
        run = runner.execute_notebook
        result = run(trial.notebook, folder, trial.params, cell_timeout=cell_timeout)
        runner.write_status(folder, {trial.notebook: dict(trial.params)}, [result])
    if "No space left" in result.message:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))
    if result.state != "finished":
        raise TrialError(json.dumps(asdict(result)))
    return result


def _result_of(future: "Future", trial: Trial) -> NotebookResult:
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except TrialError as error:
        return NotebookResult(**json.loads(str(error)))
    except CancelledError as error:
        message = "The scheduler is gone. Finished trials are kept; the same command goes on."
        raise ClusterError(message) from error
    except OSError:
        raise
    except KilledWorker as error:
        return NotebookResult(trial.notebook, "failed", message=str(error), cause="kernel died")
    except Exception as error:  # of whatever kind: it belongs to this trial, and the others go on
        return NotebookResult(trial.notebook, "failed", message=repr(error), cause="not run")


def expected_seconds(notebook: str, left: int, root: Path, processes: int) -> float | None:
    """Estimated time for `left` trials, from the median of finished ones; None without any."""
    seconds = []
    for path in root.glob(f"sweeps/*/{STATUS}"):
        with suppress(ValueError):  # a damaged one says nothing about the others
            result = runner.finished_notebooks(path.parent).get(notebook)
            seconds += [result.seconds] if result is not None else []
    return statistics.median(seconds) * left / processes if seconds else None


@contextmanager
def open_client(
    address: str | None,
    processes: int,
    *,
    root: Path | None = None,
    resources: Mapping[str, float] | None = None,
) -> "Iterator[Client]":
    """Connect to the scheduler at `address`, or start single-threaded workers on this machine.

    `root` is a folder that all workers must see, `resources` are what one of them must have, such
    as {"GPU": 1}. Raises ClusterError if no scheduler answers, if a worker has another version of
    this package or does not see the folder, or if none has the resources.
    """
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        if address is None:
            cluster = LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                processes=True,
                dashboard_address=":0",  # any free port: there may be other clusters
                config={"distributed.worker.profile.enabled": False},
                silence_logs=logging.CRITICAL,  # failures are reported by this package
            )
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        else:
            try:
                client = stack.enter_context(Client(address, timeout=CONNECT_TIMEOUT))
            except (OSError, ValueError) as error:  # a TimeoutError is an OSError
                raise ClusterError(
                    f"No scheduler answers at {address} within {CONNECT_TIMEOUT} s. Is it running, "
                    f"and can this machine reach it? It prints its address when it starts."
                ) from error
            _check_workers(client, root)
        if resources:
            _check_resources(client, resources)
        yield client


def _check_workers(client: "Client", root: Path | None) -> None:
    """All workers have this version of the package, and see the folder `root`."""
    try:
        versions = client.run(plans.code_version)
    except ModuleNotFoundError as error:
        raise ClusterError(
            "The workers do not have this package. Install it where they start: pip install -e ."
        ) from error
    if not versions:
        raise ClusterError("The scheduler has no workers. Start some, or wait until they come.")
    here = plans.code_version()
    for worker, version in versions.items():
        if version != here:
            raise ClusterError(
                f"The worker {worker} has version {version} of this package, this machine has "
                f"{here}. Bring both to the same one and restart the worker."
            )
    if root is None:
        return
    token = root / f".seen-by-all-{uuid.uuid4().hex}"  # a new name, so that no cache knows it
    write_atomic(token, "")
    try:
        seen = client.run(os.path.exists, str(token))
    finally:
        token.unlink()
    for worker, sees in seen.items():
        if not sees:
            advice = "Name a folder with --root that all machines share."
            raise ClusterError(f"The worker {worker} does not see {root}. {advice}")


def _check_resources(client: "Client", resources: Mapping[str, float]) -> None:
    """One worker has them all; for a missing resource Dask would wait without a message."""
    workers = client.run(lambda dask_worker: dask_worker.state.total_resources)
    for has in workers.values():
        if all(has.get(name, 0) >= amount for name, amount in resources.items()):
            return
    wanted = ",".join(f"{name}={amount:g}" for name, amount in resources.items())
    raise ClusterError(
        f"None of {len(workers)} workers has {wanted}. Start some with it, and name their "
        f'scheduler: dask worker … --resources "{wanted}"'
    )
