"""How are the notebooks run headlessly?

papermill runs each notebook in a kernel of its own and writes the executed copy into the run's
folder. What papermill then says of it is not trusted: after a dead kernel or a time-out its
metadata read "completed". A notebook succeeded if papermill raised nothing *and* the notebook's
last cell left its record.
"""

import ast
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from traitlets.config import Config

from helpers import runs
from helpers.files import PROJECT, write_atomically

NOTEBOOKS = PROJECT / "notebooks"
STATUS = "status.json"
# where kernels can, what they are told and answer is encrypted: other users may share the machine
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})


@dataclass(frozen=True)
class Notebook:
    """A notebook of the series, and whose weights it works on."""

    name: str  # of its file, without .ipynb
    needs: Mapping[str, str] = field(
        default_factory=dict
    )  # parameter → notebook whose weights it is given


SERIES = (
    Notebook("01_explore"),
    Notebook("02_train_mnist"),
    Notebook("03_train_fashion_mnist"),
    Notebook("04_error_analysis", needs={"checkpoint": "03_train_fashion_mnist"}),
)

# What differs from the parameters that stand in the notebooks themselves.
PROFILES: dict[str, dict[str, dict[str, object]]] = {
    "quick": {
        "02_train_mnist": {"epochs": 1, "train_images": 20_000},
        "03_train_fashion_mnist": {"epochs": 1, "train_images": 20_000, "overfit_epochs": 25},
    },
    "standard": {},
    "full": {
        "02_train_mnist": {"epochs": 20},
        "03_train_fashion_mnist": {"epochs": 20, "overfit_epochs": 100},
    },
}


@dataclass(frozen=True)
class Outcome:
    """How one notebook of a run ended."""

    notebook: str
    state: str  # "done", "failed", "skipped", "interrupted"
    seconds: float = 0.0
    message: str = ""  # for all but "done": what happened, where


_FINE = Outcome("", "done")  # a notebook that was not asked for holds nobody up


def find(name: str) -> Notebook:
    """The notebook called "02_train_mnist", or "02" for short; ValueError if there is none."""
    for notebook in SERIES:
        if name in (notebook.name, notebook.name.split("_")[0]):
            return notebook
    names = ", ".join(notebook.name for notebook in SERIES)
    raise ValueError(f"There is no notebook {name!r}. Choose one of: {names}.")


def parameters_of(notebook: Notebook) -> dict[str, dict[str, Any]]:
    """The parameters of a notebook, each with its `inferred_type_name`, `default` and `help`."""
    import papermill

    return papermill.inspect_notebook(str(NOTEBOOKS / f"{notebook.name}.ipynb"))


def settings_for(profile: str, given: Sequence[str] = ()) -> dict[str, dict[str, object]]:
    """The parameters of each notebook under a profile, changed by assignments like "02.epochs=3".

    Values are read as the type that the notebook's parameters cell annotates. Raises ValueError,
    before anything runs, for an unknown profile, notebook or parameter, or a value of another type.
    """
    if profile not in PROFILES:
        raise ValueError(f"There is no profile {profile!r}. Choose one of: {', '.join(PROFILES)}.")
    settings = {
        notebook.name: dict(PROFILES[profile].get(notebook.name, {})) for notebook in SERIES
    }
    for assignment in given:
        target, equals, text = assignment.partition("=")
        name, dot, parameter = target.partition(".")
        if not equals or not dot:
            raise ValueError(
                f"A parameter is given as NOTEBOOK.NAME=VALUE, such as 02.epochs=3; "
                f"got {assignment!r}."
            )
        notebook = find(name)
        known = parameters_of(notebook)
        if parameter not in known:
            raise ValueError(
                f"{notebook.name} has no parameter {parameter!r}. It has: {', '.join(known)}."
            )
        kind = known[parameter]["inferred_type_name"]
        settings[notebook.name][parameter] = _read(text, kind, target)
    return settings


def run(
    settings: Mapping[str, Mapping[str, object]],
    folder: Path,
    *,
    only: Sequence[str] = (),
    progress: bool = False,
    on_done: Callable[[Outcome], object] | None = None,
) -> list[Outcome]:
    """Run the series, or `only` some of it, into `folder`, and say how each notebook ended.

    Each notebook gets `folder/<its name>/` for its executed copy, its record and what else it
    makes. A notebook that needs the weights of one that failed is skipped; without that one in the
    run it takes the weights shipped with the package. `status.json` is rewritten after each
    notebook, so that it is right whenever the run stops. Ctrl-C ends it with KeyboardInterrupt.
    """
    chosen = {find(name).name for name in only} or {notebook.name for notebook in SERIES}
    outcomes: dict[str, Outcome] = {}

    def settle(outcome: Outcome) -> None:
        outcomes[outcome.notebook] = outcome
        status = {"notebooks": [asdict(o) for o in outcomes.values()]}
        write_atomically(folder / STATUS, json.dumps(status, indent=2) + "\n")
        if on_done is not None:
            on_done(outcome)

    for notebook in (n for n in SERIES if n.name in chosen):
        failed = [
            needed
            for needed in notebook.needs.values()
            if outcomes.get(needed, _FINE).state != "done"
        ]
        if failed:
            settle(
                Outcome(
                    notebook.name, "skipped", message=f"it needs {failed[0]}, which did not finish"
                )
            )
            continue
        weights = {
            parameter: str(folder / needed / runs.WEIGHTS)
            for parameter, needed in notebook.needs.items()
            if needed in outcomes
        }
        try:
            settle(
                execute(
                    notebook.name, folder, {**weights, **settings[notebook.name]}, progress=progress
                )
            )
        except KeyboardInterrupt:
            settle(Outcome(notebook.name, "interrupted", message="by Ctrl-C"))
            raise
    return list(outcomes.values())


def execute(
    name: str, folder: Path, parameters: Mapping[str, object], *, progress: bool = False
) -> Outcome:
    """Run one notebook into `folder/<name>/`; whatever goes wrong in it is told, not raised."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    output = folder / name
    output.mkdir(parents=True, exist_ok=True)
    start, message = time.perf_counter(), ""
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{name}.ipynb"),
            str(output / f"{name}.ipynb"),
            {**parameters, "output": str(output)},
            kernel_name="python3",
            progress_bar={"desc": name, "leave": False} if progress else False,
            config=ENCRYPTED,
        )
    except papermill.PapermillExecutionError as error:
        message = f"cell [{error.exec_count}] raised {error.ename}: {error.evalue}"
    except DeadKernelError:
        message = "its kernel died; often the memory was full, or a cell ended the process"
    except CellTimeoutError as error:
        message = f"a cell took too long: {error}"
    if not message and not (output / runs.RESULT).is_file():
        message = f"it ended without its record, {runs.RESULT}, which its last cell writes"
    return Outcome(name, "failed" if message else "done", time.perf_counter() - start, message)


def _read(text: str, kind: str, target: str) -> object:
    """Read a value as the annotated type: text stays text, all else is a Python literal."""
    if kind == "str":
        return text
    value: object = text
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    if kind == "float" and type(value) is int:
        value = float(value)
    if type(value).__name__ != kind:
        raise ValueError(f"{target} is of type {kind}, got {text!r}.")
    return value
