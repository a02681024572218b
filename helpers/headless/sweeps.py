"""Sweeps: many runs of a notebook with different parameters, on the workers of a Dask cluster.

A plan defines the trials; each trial is one run. If a worker dies, its trial moves to another one.
The folder of a trial is named by a digest of notebook, parameters and package, so a finished trial
is never run again, in any sweep.
"""

import errno
import itertools
import json
import logging
import math
import os
import random
import statistics
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from reprlib import repr as brief
from typing import TYPE_CHECKING, Any

from helpers import __version__
from helpers.files import PROJECT, lock_folder, short_digest, write_atomic
from helpers.headless import notebooks, runner
from helpers.headless.runner import NotebookResult
from helpers.messages import Show, progress_bar
from helpers.runs import STATUS

if TYPE_CHECKING:
    from distributed import Client, Future

MAX_TRIALS = 10_000  # in a sweep
CONNECT_TIMEOUT = 15  # seconds to wait for the answer of a scheduler
Reader = Callable[..., object]  # see notebooks.parameter_reader


class TrialError(RuntimeError):
    """A trial failed; its NotebookResult is in `args`. Dask retries it as `retries` allows."""


class ClusterError(RuntimeError):
    """The workers cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Trial:
    """One run of a notebook."""

    notebook: str
    params: Mapping[str, object]  # those to set; others keep the notebook's defaults

    @cached_property
    def digest(self) -> str:
        """Twelve hex digits that identify the notebook's code, the parameters and this package."""
        path = notebooks.NOTEBOOKS / f"{self.notebook}.ipynb"
        code = _code_of(path, path.stat().st_mtime_ns)
        parts = [self.notebook, code, dict(self.params), code_version()]
        return short_digest(json.dumps(parts, sort_keys=True))


@dataclass(frozen=True)
class Plan:
    """The definition of a sweep. Values of parameters are text, as on the command line."""

    notebook: str
    grid: Mapping[str, Sequence[str]]  # values by parameter
    ranges: Mapping[str, str]  # "lo:hi" or "lo:hi:log" by parameter
    random: int = 0  # number of draws from the ranges; each is combined with all of the grid
    fixed: Mapping[str, str] | None = None  # the same in all trials
    seed: int = 0  # of the draws

    def trials(self) -> list[Trial]:
        """All trials, in the order of the values. Raises ValueError for an invalid plan."""
        notebook = notebooks.find_notebook(self.notebook)
        read = notebooks.parameter_reader(notebook)
        names = [*self.grid, *self.ranges, *(self.fixed or {})]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"Parameters given more than once: {', '.join(sorted(twice))}.")
        if self.random < 0:
            raise ValueError(f"The number of draws must be at least 1, got {self.random}.")
        if bool(self.ranges) != bool(self.random):
            raise ValueError("Give ranges and a number of draws together, such as --random 20.")
        grid = {n: _distinct(n, [read(n, text) for text in v]) for n, v in self.grid.items()}
        fixed = {name: read(name, text) for name, text in (self.fixed or {}).items()}
        spans = {name: _span(name, text, read) for name, text in self.ranges.items()}
        if max(1, self.random) * math.prod(map(len, grid.values())) > MAX_TRIALS:
            raise ValueError(f"A sweep can have at most {MAX_TRIALS:,} trials; got more.")
        generator = random.Random(self.seed)
        draws = [{n: draw(generator) for n, draw in spans.items()} for _ in range(self.random)]
        if not grid and not self.ranges:
            raise ValueError("A sweep needs something that varies, such as --grid seed=0:5.")
        points = [dict(zip(grid, row, strict=True)) for row in itertools.product(*grid.values())]
        combined = (fixed | draw | point for draw in draws or [{}] for point in points)
        # equal draws make one trial
        distinct = {json.dumps(params, sort_keys=True): params for params in combined}
        return [Trial(notebook.name, params) for params in distinct.values()]


def read_plan(path: Path | str) -> Plan:
    """Read a plan from a YAML file. FileNotFoundError, or ValueError that names file and error."""
    import yaml

    class Loader(yaml.BaseLoader):  # every value stays text
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            names = [key.value for key, _ in node.value]
            if twice := [str(name) for name in names if names.count(name) > 1]:
                raise ValueError(f"{path}: {twice[0]!r} is given twice.")
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(Path(path).read_bytes(), Loader=Loader)
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    known = [field.name for field in fields(Plan)]
    if not isinstance(content, dict) or not isinstance(content.get("notebook"), str):
        raise ValueError(f"{path} lacks an entry for the notebook, such as notebook: 03.")
    if unknown := [key for key in content if key not in known]:
        raise ValueError(f"{path}: expected only {', '.join(known)}, got {unknown[0]!r}.")
    try:
        grid, ranges, fixed = (_section(content, name) for name in ("grid", "ranges", "fixed"))
        numbers = {name: content[name] for name in ("random", "seed") if name in content}
        for name, text in numbers.items():
            if not isinstance(text, str) or not text.isdecimal():
                raise ValueError(f"{name} must be a whole number, got {brief(text)}.")
        plan = Plan(
            content["notebook"],
            {name: v if isinstance(v, list) else parse_values(v) for name, v in grid.items()},
            ranges, fixed=fixed, **{name: int(text) for name, text in numbers.items()},
        )  # fmt: skip
        plan.trials()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return plan


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Values by parameter; only in the section `grid` may they be lists."""
    section = content.get(name) or {}
    if not isinstance(section, dict):
        raise ValueError(f"{name} must map names to values, such as seed: 0:5.")
    for parameter, value in section.items():
        items = value if isinstance(value, list) and name == "grid" else [value]
        if not all(isinstance(item, str) and item for item in items):
            raise ValueError(f"{parameter} must be a number or text, got {brief(value)}.")
    return section


@lru_cache(maxsize=16)
def _code_of(path: Path, modified: int) -> list:
    """The code cells of a notebook, with tags; trials do not depend on outputs and Markdown."""
    cells = json.loads(path.read_bytes())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [["".join(cell["source"]), cell["metadata"].get("tags", [])] for cell in code]


def parse_values(text: str) -> list[str]:
    """The values in "0.05,0.1,0.2", or the whole numbers of "0:5", which are 0, 1, 2, 3 and 4."""
    first, colon, last = text.partition(":")
    if colon and all(part.removeprefix("-").isdigit() for part in (first, last)):
        return [str(n) for n in range(int(first), min(int(last), int(first) + MAX_TRIALS + 1))]
    return [part.strip() for part in text.split(",") if part.strip()]


@cache
def code_version() -> str:
    """The version of this package: its number, and six hex digits of a digest of its source."""
    files = (PROJECT / "helpers").rglob("*")
    sources = sorted(path for path in files if path.suffix in (".py", ".toml"))
    digest = short_digest(*(path.read_bytes() for path in sources))
    return f"{__version__}+{digest[:6]}"


def _distinct(name: str, values: list[object]) -> list[object]:
    if not values:
        raise ValueError(f"{name} has no values. Give some, such as --grid {name}=1,2 or =0:5.")
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"{name} has the value {twice!r} more than once.")
    return values


def _span(name: str, text: str, read: Reader) -> Callable[[random.Random], object]:
    """A function that draws uniformly from "lo:hi", or log-uniformly from "lo:hi:log"."""
    parts = text.split(":")
    if len(parts) < 2 or parts[2:] not in ([], ["log"]):
        raise ValueError(f"Expected a range lo:hi or lo:hi:log, got {name}={text}.")
    lo, hi = (read(name, part) for part in parts[:2])
    if not isinstance(lo, int | float) or not isinstance(hi, int | float) or not 0 < hi - lo < 1e99:
        raise ValueError(f"A range must go from a smaller to a larger number, got {name}={text}.")
    if parts[2:] and lo <= 0:
        raise ValueError(f"A logarithmic range must be above 0, got {name}={text}.")
    logarithmic, whole = bool(parts[2:]), isinstance(lo, int)
    # half a step more at each end, so that the first and last integer are as likely as the others
    least, most = (lo - 0.5, hi + 0.5) if whole else (lo, hi)

    def draw(generator: random.Random) -> object:
        if logarithmic:
            drawn = math.exp(generator.uniform(math.log(least), math.log(most)))
        else:
            drawn = generator.uniform(least, most)
        return min(max(round(drawn) if whole else float(f"{drawn:.4g}"), lo), hi)

    return draw


def trial_dir(trial: Trial, root: Path | str) -> Path:
    """The folder of a trial, `<root>/sweeps/<digest>`; in it is a folder named as the notebook."""
    return Path(root, "sweeps", trial.digest)


def finished_trial(trial: Trial, root: Path | str) -> NotebookResult | None:
    """The result of a trial if it is finished, or None. ValueError if its status is damaged."""
    return runner.finished_notebooks(trial_dir(trial, root)).get(trial.notebook)


def run_sweep(
    trials: Sequence[Trial],
    root: Path | str,
    client: "Client",
    *,
    retries: int = 0,
    resources: Mapping[str, float] | None = None,
    cell_timeout: int = 3_600,
    on_done: Callable[[Trial, NotebookResult], object] = lambda *_: None,
    progress: Show = None,
) -> list[NotebookResult]:
    """Run all trials on the workers of `client`; returns their results in the same order.

    A trial that fails is retried up to `retries` times; it does not stop the others. `resources`
    are what a worker must have, such as {"GPU": 1}. `on_done` is called for each trial: first for
    those that were finished before, then for each when it ends. Raises OSError for a full disk,
    ClusterError if the scheduler is gone or no worker has the `resources`, and as `finished_trial`.
    """
    if resources:
        _check_resources(client, resources)
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

    At most one trial per worker thread is submitted at a time: a lost worker costs no other trial.
    """
    from distributed import as_completed

    rest = iter(trials)
    running: dict[str, tuple[Trial, Future]] = {}

    def submit() -> "Iterator[Future]":
        workers = max(1, sum(client.nthreads().values()))
        for trial in itertools.islice(rest, max(0, workers - len(running))):
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


def run_trial(trial: Trial, root: Path | str, cell_timeout: int = 3_600) -> NotebookResult:
    """Run one trial in this process; if another process is running it, wait for the result. Raises
    TrialError if it fails, or if the notebook or package differs from where the sweep started (on a
    worker that joined late); OSError if the disk is full.
    """
    folder = trial_dir(trial, root)
    if replace(trial).digest != trial.digest:  # the copy computes it on this machine
        message = "the notebook or this package differs from where the sweep started"
        raise TrialError(NotebookResult(trial.notebook, "failed", message=message))
    with lock_folder(folder, wait=True):
        if (before := finished_trial(trial, root)) is not None:
            return before
        # Dask sets this for its workers and their kernels; it makes training a third slower
        os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
        run = runner.execute_notebook
        result = run(trial.notebook, folder, trial.params, cell_timeout=cell_timeout)
        runner.write_status(folder, {trial.notebook: dict(trial.params)}, [result])
    if "No space left" in result.message:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))
    if result.state != "finished":
        raise TrialError(result)
    return result


def _result_of(future: "Future", trial: Trial) -> NotebookResult:
    from distributed import CancelledError
    from distributed.scheduler import KilledWorker

    try:
        return future.result()
    except TrialError as error:
        return error.args[0]
    except CancelledError as error:
        message = "The scheduler has stopped. Finished trials are saved; the same command resumes."
        raise ClusterError(message) from error
    except OSError:
        raise
    except KilledWorker as error:
        return NotebookResult(trial.notebook, "failed", message=str(error), cause="kernel died")
    except Exception as error:  # any other error fails only this trial
        return NotebookResult(trial.notebook, "failed", message=repr(error), cause="not run")


def expected_seconds(notebook: str, left: int, root: Path | str, processes: int) -> float | None:
    """Estimate the time for the `left` trials by the median of finished ones; None without any."""
    seconds = []
    for path in Path(root).glob(f"sweeps/*/{STATUS}"):
        with suppress(ValueError):  # a damaged one says nothing about the others
            result = runner.finished_notebooks(path.parent).get(notebook)
            seconds += [result.seconds] if result is not None else []
    return statistics.median(seconds) * left / processes if seconds else None


@contextmanager
def open_client(
    address: str | None, processes: int, *, root: Path | str | None = None
) -> "Iterator[Client]":
    """Connect to the scheduler at `address`, or start single-threaded workers on this machine.

    Raises ClusterError if no scheduler answers, if it has no workers, or if a worker has another
    version of this package or does not see the folder `root`.
    """
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        if address is None:
            cluster = LocalCluster(
                n_workers=processes, threads_per_worker=1,
                dashboard_address="127.0.0.1:0",  # for this machine only, at any free port
                worker_dashboard_address="127.0.0.1:0",
                config={"distributed.worker.profile.enabled": False},
                silence_logs=logging.CRITICAL,  # failures are reported by this package
            )  # fmt: skip
            client = stack.enter_context(Client(stack.enter_context(cluster)))
        else:
            try:
                client = stack.enter_context(Client(address, timeout=CONNECT_TIMEOUT))
            except (OSError, ValueError) as error:  # a TimeoutError is an OSError
                raise ClusterError(
                    f"No scheduler answers at {address} within {CONNECT_TIMEOUT} s. Is it running, "
                    "and can this machine reach it? A scheduler prints its address when it starts."
                ) from error
            _check_workers(client, root)
        yield client


def _check_workers(client: "Client", root: Path | str | None) -> None:
    """Raise ClusterError unless all workers have this version of the package and see `root`."""
    try:
        versions = client.run(code_version)
    except ModuleNotFoundError as error:
        raise ClusterError(
            "The workers do not have this package. Install it where they start: pip install -e ."
        ) from error
    if not versions:
        raise ClusterError("The scheduler has no workers. Start some, or wait until they connect.")
    here = code_version()
    for worker, version in versions.items():
        if version != here:
            raise ClusterError(
                f"The worker {worker} has version {version} of this package, this machine has "
                f"{here}. Install the same version on both, and restart the worker."
            )
    if root is None:
        return
    token = Path(root, f".seen-by-all-{uuid.uuid4().hex}")  # a new name, which no cache knows
    write_atomic(token, "")
    try:
        seen = client.run(os.path.exists, str(token))
    finally:
        token.unlink()
    for worker, sees in seen.items():
        if not sees:
            advice = "Choose a folder that all machines share, with --root."
            raise ClusterError(f"The worker {worker} cannot access {root}. {advice}")


def _check_resources(client: "Client", resources: Mapping[str, float]) -> None:
    """Raise ClusterError unless a worker has all `resources`; Dask would wait for it silently."""
    workers = client.run(lambda dask_worker: dask_worker.state.total_resources)
    for has in workers.values():
        if all(has.get(name, 0) >= amount > 0 for name, amount in resources.items()):
            return
    wanted = ",".join(f"{name}={amount:g}" for name, amount in resources.items())
    raise ClusterError(
        f"None of the {len(workers)} workers has the resources {wanted}. Start one that has them: "
        f'dask worker <address of the scheduler> --resources "{wanted}"'
    )
