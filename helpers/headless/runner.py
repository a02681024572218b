"""How are the notebooks run headlessly?

papermill runs each notebook in a kernel of its own and writes the executed copy into the run's
folder. What papermill then says of it is not trusted: after a dead kernel or a time-out its
metadata read "completed". A notebook succeeded if papermill raised nothing *and* the notebook's
last cell left its record. What was killed goes on where it was: `status.json` says what is done.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from traitlets.config import Config
from helpers import runs
from helpers.files import lock_folder, write_atomic
from helpers.headless.notebooks import NOTEBOOKS, find_notebook

STATUS = runs.STATUS
# where kernels can, what they are told and answer is encrypted: other users may share the machine
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})


@dataclass(frozen=True)
class NotebookResult:
    """How one notebook of a run ended."""

    notebook: str
    state: str  # "done", "failed", "skipped", "interrupted"; on the disk "running" as well
    seconds: float = 0.0
    message: str = ""  # for all but "done": what happened, where
    cause: str = ""  # of a failure: "error", "kernel died", "time-out", "no record", "not run"


def run_notebooks(
    settings: Mapping[str, Mapping[str, object]],
    folder: Path,
    *,
    cell_timeout: int = 3_600,
    progress: bool = False,
    on_done: Callable[[NotebookResult], object] | None = None,
) -> list[NotebookResult]:
    """Run the notebooks in `settings`, as `settings_for` gives them, and say how each one ended.

    Each notebook gets `folder/<its name>/` for its executed copy, its record and what else it
    makes. A notebook that reads the weights of one that failed is skipped; without that one in the
    run it takes the weights shipped with the package. `status.json` is rewritten before and after
    each notebook, so that it is right whenever the run stops; what it says is done, by an earlier
    run into this folder, is not run again. Ctrl-C ends it with KeyboardInterrupt. Raises OSError if
    another process runs into this folder, or nothing can be written to it.
    """
    from tqdm.auto import tqdm

    outcomes: dict[str, NotebookResult] = {}

    def note(outcome: NotebookResult) -> None:
        outcomes[outcome.notebook] = outcome
        write_status(folder, settings, outcomes.values())

    def settle(outcome: NotebookResult) -> None:
        note(outcome)
        if on_done is not None:
            on_done(outcome)

    with lock_folder(folder):
        before = finished_notebooks(folder)
        for name in tqdm(settings, desc="notebooks", unit="notebook", disable=not progress):
            given = dict(settings[name])
            source = _weights_from(name, given)
            if name in before and source not in settings.keys() - before.keys():
                settle(before[name])
                continue
            if source in outcomes:
                if outcomes[source].state != "done":
                    reason = f"it reads the weights of {source}, which did not finish"
                    settle(NotebookResult(name, "skipped", message=reason))
                    continue
                given["checkpoint"] = str(folder / source / runs.WEIGHTS)
            note(NotebookResult(name, "running"))
            try:
                settle(execute_notebook(name, folder, given, cell_timeout=cell_timeout, progress=progress))
            except KeyboardInterrupt as stop:
                settle(NotebookResult(name, "interrupted", message=f"by {str(stop) or 'Ctrl-C'}"))
                raise
    return list(outcomes.values())


def write_status(
    folder: Path, settings: Mapping[str, Mapping[str, object]], outcomes: Iterable[NotebookResult]
) -> None:
    """Write what a run into `folder` was begun with, and how far it has come.

    Raises OSError if nothing can be written there.
    """
    status = {"settings": settings, "notebooks": [asdict(outcome) for outcome in outcomes]}
    write_atomic(folder / STATUS, json.dumps(status, indent=2) + "\n")


def find_unfinished(root: Path, settings: Mapping[str, Mapping[str, object]]) -> Path:
    """The folder of the newest run with these settings, to go on with.

    Raises ValueError if there is none, or if all of its notebooks are done.
    """
    for status in sorted(root.glob(f"*/{STATUS}"), reverse=True):
        if json.loads(status.read_text()).get("settings") == settings:
            if settings.keys() - finished_notebooks(status.parent).keys():
                return status.parent
            raise ValueError(f"Nothing is left to do in {status.parent}: all is done.")
    raise ValueError(f"No run in {root} was begun with these settings. Begin one without --resume.")


def finished_notebooks(folder: Path) -> dict[str, NotebookResult]:
    """The notebooks that a run into this folder has brought to their end, by name.

    Only those count whose record can be read as well: a status is but a word.
    """
    status = folder / STATUS
    if not status.is_file():
        return {}
    done = {}
    for entry in json.loads(status.read_text())["notebooks"]:
        outcome = NotebookResult(**entry)
        with suppress(OSError, ValueError):
            if outcome.state == "done" and json.loads(
                (folder / outcome.notebook / runs.RESULT).read_text()
            ):
                done[outcome.notebook] = outcome
    return done


def _weights_from(name: str, given: Mapping[str, object]) -> str:
    """The notebook whose weights this one reads, or "" if none, or if it was given a checkpoint."""
    sources = find_notebook(name).weights_from
    if not sources or "checkpoint" in given:
        return ""
    return sources.get(str(given.get("dataset", next(iter(sources)))), "")


def execute_notebook(
    name: str,
    folder: Path,
    given: Mapping[str, object],
    *,
    cell_timeout: int = 3_600,
    progress: bool = False,
) -> NotebookResult:
    """Run one notebook into `folder/<name>/` with the parameters `given`.

    What goes wrong in it is told, not raised. A cell longer than `cell_timeout` seconds is stopped.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from helpers.headless.engine import NAME

    output = folder / name
    executed, record = output / f"{name}.ipynb", output / runs.RESULT
    output.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)  # one of an earlier run must not speak for this one
    start, cause, message = time.perf_counter(), "", ""
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{name}.ipynb"),
            str(executed),
            {**given, "output": str(output)},
            engine_name=NAME,
            kernel_name="python3",
            progress_bar={"desc": name, "leave": False} if progress else False,
            execution_timeout=cell_timeout,
            start_timeout=300,  # a busy machine may take its time
            coalesce_streams=True,  # the lines of a training as one output, not one each
            config=ENCRYPTED,
        )
    except papermill.PapermillExecutionError as error:
        cause, message = "error", f"cell [{error.exec_count}] raised {error.ename}: {error.evalue}"
    except CellTimeoutError:
        cause, message = "time-out", f"{_last_cell(executed)} took longer than {cell_timeout} s"
    except DeadKernelError:
        cause = "kernel died"
        message = f"its kernel died in {_last_cell(executed)}; often the memory was full"
    except (OSError, RuntimeError, ValueError) as error:
        cause, message = "not run", f"it could not be run: {error}"
    if not cause and not record.is_file():
        cause = "no record"
        message = f"it ended in {_last_cell(executed)} without its record, {runs.RESULT}"
    seconds = time.perf_counter() - start
    return NotebookResult(name, "failed" if cause else "done", seconds, message, cause)


def _last_cell(executed: Path) -> str:
    """Name the last cell that was begun; the rest of the copy's metadata is not to be trusted."""
    cells = json.loads(executed.read_bytes())["cells"] if executed.is_file() else []
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    begun = [i for i, cell in enumerate(code) if cell["metadata"]["papermill"].get("start_time")]
    if not begun:
        return "no cell yet"
    first_line = "".join(code[begun[-1]]["source"]).partition("\n")[0]
    return f"cell [{begun[-1] + 1}], {first_line!r}"
