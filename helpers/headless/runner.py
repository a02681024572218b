"""Run notebooks headlessly with papermill, each in a kernel of its own.

papermill's metadata say "completed" even after a dead kernel or a time-out. So a notebook counts as
finished only if papermill raised no error *and* the notebook's last cell wrote its record.
"""

import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers.files import lock_folder, make_folder, write_atomic
from helpers.headless import notebooks
from helpers.messages import Show, progress_bar
from helpers.runs import RESULT, STATUS, WEIGHTS, read_status

Settings = Mapping[str, Mapping[str, object]]  # parameters by notebook, see settings_for


@dataclass(frozen=True)
class NotebookResult:
    """How one notebook of a run ended."""

    notebook: str
    state: str  # "finished", "failed", "skipped", "stopped"; in status.json "running" as well
    seconds: float = 0.0
    message: str = ""  # what happened, and where; "" if finished
    cause: str = ""  # of a failure: "error", "kernel died", "time-out", "no record", "not run"


def run_notebooks(
    settings: Settings,
    folder: Path | str,
    *,
    cell_timeout: int = 3_600,
    progress: Show = False,
    on_done: Callable[[NotebookResult], object] = lambda _: None,
) -> list[NotebookResult]:
    """Run the notebooks in `settings`, a dictionary from `settings_for`; returns their results.

    The executed copy, record and files of each are in `folder/<name>/`. `status.json` is written
    before and after each. A notebook is skipped if the one whose weights it reads has failed; a
    finished one is run again only if that one is. Raises KeyboardInterrupt for Ctrl-C, OSError if
    the folder is in use or not writable, ValueError for a damaged `status.json`.
    """
    results: dict[str, NotebookResult] = {}
    options: dict[str, Any] = {"cell_timeout": cell_timeout, "progress": progress}

    def record(result: NotebookResult, *, final: bool = True) -> None:
        results[result.notebook] = result
        write_status(folder, settings, results.values())
        if final:
            on_done(result)

    with lock_folder(folder):
        finished = finished_notebooks(folder)
        expected = {name: notebooks.find_notebook(name).seconds for name in settings}
        bar = _SeriesBar(progress, expected)
        for name in bar.each(settings):
            params = dict(settings[name])
            source = _weights_from(name, params)
            if name in finished and source not in settings.keys() - finished.keys():
                record(finished[name])
                continue
            if source in results:
                if results[source].state != "finished":
                    reason = f"it reads the weights of {source}, which did not finish"
                    record(NotebookResult(name, "skipped", message=reason))
                    continue
                params["checkpoint"] = str(Path(folder, source, WEIGHTS))
            record(NotebookResult(name, "running"), final=False)
            try:
                record(execute_notebook(name, folder, params, **options))
            except KeyboardInterrupt as stop:
                message = f"by {str(stop) or 'Ctrl-C'}"
                record(NotebookResult(name, "stopped", message=message))
                raise
    return list(results.values())


class _SeriesBar:
    """A progress bar in expected seconds, which also advances while a notebook runs.

    The expected durations are scaled by those of the finished notebooks, so the estimate of the
    time left adapts to slower machines and other parameters.
    """

    def __init__(self, show: Show, expected: Mapping[str, float]) -> None:
        self.expected, self.done = expected, 0.0
        total = round(sum(expected.values()))
        self.bar = progress_bar(show, total=total, unit=" s", leave=True, smoothing=0)
        self.start = self.begun = time.monotonic()
        self.ended = threading.Event()

    def each(self, names: Collection[str]) -> Iterator[str]:
        """Yield the names, one after another, while the bar advances."""
        with self.bar:
            threading.Thread(target=self._advance, daemon=True).start()
            try:
                for i, name in enumerate(names, start=1):
                    self.bar.set_description_str(f"notebook {i} of {len(names)}")
                    self.current, self.begun = self.expected[name], time.monotonic()
                    yield name
                    self.done += self.current
                    self.bar.update(round(self.done) - self.bar.n)
            finally:
                self.ended.set()

    def _advance(self) -> None:
        while not self.ended.wait(1):
            before, passed = self.begun - self.start, time.monotonic() - self.begun
            position = round(expected_position(self.done, self.current, before, passed))
            self.bar.update(position - self.bar.n)


def expected_position(done: float, current: float, before: float, passed: float) -> float:
    """The progress of a run, in expected seconds.

    `done` seconds were expected for the finished notebooks, which took `before`; `current` are
    expected for the one that has run for `passed` seconds. 30 seconds at the expected speed are
    added to both, to steady the estimate. A running notebook counts for at most 95 %.
    """
    slowness = (before + 30) / (done + 30)
    return done + min(passed / slowness, 0.95 * current)


def write_status(folder: Path | str, settings: Settings, results: Iterable[NotebookResult]) -> None:
    """Write the settings of a run and the results so far to `status.json`. Raises OSError."""
    status = {"settings": settings, "notebooks": [asdict(result) for result in results]}
    write_atomic(Path(folder, STATUS), json.dumps(status, indent=2) + "\n")


def find_unfinished(root: Path | str, settings: Settings) -> Path:
    """The folder of the newest run with these settings, to resume it.
    Raises ValueError if there is none, or if all of its notebooks are finished.
    """
    for status in sorted(Path(root).glob(f"*/{STATUS}"), reverse=True):
        if read_status(status.parent, strict=False).get("settings") == settings:
            if settings.keys() - finished_notebooks(status.parent).keys():
                return status.parent
            raise ValueError(f"Nothing to resume in {status.parent}: all notebooks are finished.")
    raise ValueError(f"No run in {root} has these settings. Start one without --resume.")


def finished_notebooks(folder: Path | str) -> dict[str, NotebookResult]:
    """Finished notebooks with intact records, by name. ValueError for a damaged `status.json`."""
    if not Path(folder, STATUS).is_file():
        return {}
    done = {}
    for row in read_status(folder)["notebooks"]:
        result = NotebookResult(**{k: row[k] for k in NotebookResult.__match_args__ if k in row})
        record = Path(folder, result.notebook, RESULT)
        with suppress(OSError, ValueError, RecursionError):
            if result.state == "finished" and json.loads(record.read_text(encoding="utf-8")):
                done[result.notebook] = result
    return done


def _weights_from(name: str, params: Mapping[str, object]) -> str:
    """The notebook whose weights this one reads; "" if none, or if a checkpoint is given."""
    sources = notebooks.find_notebook(name).weights_from
    if not sources or "checkpoint" in params:
        return ""
    return sources.get(str(params.get("dataset", next(iter(sources)))), "")


def execute_notebook(
    name: str,
    folder: Path | str,
    params: Mapping[str, object],
    *,
    cell_timeout: int = 3_600,
    progress: Show = False,
) -> NotebookResult:
    """Run one notebook with parameters, into `folder/<name>/`; a failure is returned, not raised.
    A cell that takes longer than `cell_timeout` seconds fails.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    output = Path(folder, name)
    executed, record = output / f"{name}.ipynb", output / RESULT
    make_folder(output)
    record.unlink(missing_ok=True)  # the record of an earlier run must not count for this one
    start, cause, message = time.perf_counter(), "", ""
    paths = (notebooks.NOTEBOOKS / f"{name}.ipynb", executed)
    source, target = map(notebooks.escape_braces, paths)
    try:
        with _papermill_options(name, cell_timeout, progress) as options:
            papermill.execute_notebook(source, target, {**params, "output": str(output)}, **options)
    except papermill.PapermillExecutionError as error:
        where = _last_cell(executed)
        cause, message = "error", f"{where}, raised {error.ename}: {error.evalue}"
    except CellTimeoutError:
        cause, message = "time-out", f"{_last_cell(executed)} took longer than {cell_timeout} s"
    except DeadKernelError:
        cause = "kernel died"
        message = f"its kernel died in {_last_cell(executed)}; perhaps the memory was full"
    except (OSError, RuntimeError, ValueError) as error:
        cause, message = "not run", f"it could not be run: {error}"
    if not cause and not record.is_file():
        cause = "no record"
        message = f"it ended in {_last_cell(executed)} without writing its record, {RESULT}"
    seconds = time.perf_counter() - start
    return NotebookResult(name, "failed" if cause else "finished", seconds, message, cause)


@contextmanager
def _papermill_options(name: str, cell_timeout: int, progress: Show) -> Iterator[dict[str, Any]]:
    """Arguments for papermill, which also keep the user's IPython and matplotlib settings out."""
    from traitlets.config import Config

    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        settings = Path(folder, "matplotlibrc")
        settings.touch()
        line = f"import os; os.environ['MATPLOTLIBRC'] = {str(settings)!r}"
        arguments = [f"--ipython-dir={folder}", f"--IPKernelApp.exec_lines={line}"]
        yield dict(
            kernel_name="python3", execution_timeout=cell_timeout, start_timeout=300,
            progress_bar={"desc": name, "leave": False} if progress is True else False,
            coalesce_streams=True,  # the lines of a training as one output
            # only fatal errors; otherwise each kernel logs how it was stopped
            extra_arguments=["--IPKernelApp.log_level=50", *arguments],
            # encrypted where possible, since other users may share the machine
            config=Config({"KernelManager": {"transport_encryption": "auto"}}),
        )  # fmt: skip


def _last_cell(executed: Path) -> str:
    """Name the last cell that started; papermill's other metadata are not reliable."""
    cells = json.loads(executed.read_bytes())["cells"] if executed.is_file() else []
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    started = [i for i, cell in enumerate(code) if cell["metadata"]["papermill"].get("start_time")]
    if not started:
        return "no cell yet"
    first_line = "".join(code[started[-1]]["source"]).partition("\n")[0]
    return f"cell [{started[-1] + 1}], {first_line!r}"
