"""Save, find and compare the results of runs.

A run is a folder under `runs/` with a folder for each of its notebooks. The last cell of a notebook
writes its `result.json` atomically: if the file exists, the notebook was run to its end.
"""

import datetime
import functools
import gc
import itertools
import json
import math
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import __version__
from helpers.files import PROJECT, make_folder, read_tree, write_atomic

if TYPE_CHECKING:  # importing this module does not import torch
    import pandas as pd
    from torch import nn

    from helpers.data import DatasetSpec
    from helpers.evaluation import Predictions
    from helpers.training import History

ROOT = PROJECT / "runs"
RESULT = "result.json"
STATUS = "status.json"  # of all notebooks of a run, also of those without a record
WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.csv"  # on the test images: true and predicted class
MAX_LISTED = 1_000  # maximum number of runs in a table or on a page
PACKAGES = ("torch", "torchvision", "torchmetrics", "numpy")
# columns of a frame of records that the tables below show, if any record has them
MEASURED = ["parameters.seed", "measured.validation_accuracy", "measured.test_accuracy"]
_KINDS: dict[str, Any] = dict.fromkeys(("notebook", "dataset", "state", "finished", "message"), str)
_KINDS |= dict.fromkeys(("device", "commit", "data_digest"), str)  # all of them are optional
_KINDS |= dict.fromkeys(("parameters", "measured", "versions", "model", "settings"), dict)
_KINDS |= dict.fromkeys(("epochs", "parameters.seed", "model.num_classes"), int)
_KINDS |= dict.fromkeys(("seconds", "wall_seconds"), int | float)
_KINDS |= {"notebooks": list, "planned_epochs": int | None, "run": (), "folder": ()}  # (): never
_OWN_VERSION = {"image-classification-notebooks": __version__}  # also where it is not installed
_OLD_STATES = {"done": "finished", "interrupted": "stopped"}
REPORTED_ACCURACY = {"mnist": 0.98, "fashion_mnist": 0.86}  # test accuracies in the report


def run_dir(output: str, notebook: str) -> Path:
    """The absolute path of the folder for a notebook's results: `output`, if it is not empty; else
    `runs/by-hand/<notebook>` in the clone, or in the working folder if the clone is read-only.
    """
    root = ROOT if os.access(ROOT if ROOT.exists() else PROJECT, os.W_OK) else Path.cwd() / "runs"
    return Path(output).absolute() if output else root / "by-hand" / notebook


def create_run(root: Path | str, name: str) -> Path:
    """Make the folder `<root>/<date>-<time>-<name>` for a run, with the suffix `-2` if it exists.
    Raises an OSError that names the folder if it cannot be made, ValueError if `root` is a URL.
    """
    stamp = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
    path, numbers = Path(root, stamp), itertools.count(2)
    while True:
        try:
            make_folder(path, exist_ok=False)
            return path
        except FileExistsError:
            path = Path(root, f"{stamp}-{next(numbers)}")
        except OSError as error:
            message = f"Cannot create {path} ({error.strerror}). Choose another folder with --root."
            raise OSError(message) from error


def save(
    folder: Path | str,
    *,
    notebook: str,
    dataset: "DatasetSpec",
    parameters: Mapping[str, object],
    measured: Mapping[str, object],
    model: "nn.Module | None" = None,
    history: "History | None" = None,
    device: str = "",
    predictions: "Predictions | None" = None,
) -> Path:
    """Save the results of a notebook in `folder`; the record `result.json` is written last.

    Accuracies in `measured` are fractions in [0, 1]; `predictions` are those of the test images.
    Returns the path of the record. Raises OSError if the folder cannot be written to.
    """
    from helpers import models

    record: dict[str, object] = {
        "notebook": notebook, "dataset": dataset.name, "data_digest": dataset.digest,
        "parameters": dict(parameters), "measured": dict(measured), "device": device,
        "versions": {package: version(package) for package in PACKAGES} | _OWN_VERSION,
        "commit": commit(),
        "state": "stopped" if history is not None and history.interrupted else "finished",
        "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }  # fmt: skip
    if model is not None:
        record["model"] = models.describe(model)
        notes = {"class_names": dataset.class_names, "data_digest": dataset.digest, **measured}
        models.save(model, Path(folder, WEIGHTS), notebook=notebook, dataset=dataset.name, **notes)
    if history is not None:
        record |= {"epochs": len(history.epochs), "planned_epochs": history.planned_epochs}
        record["seconds"] = round(history.seconds, 2)
        write_atomic(Path(folder, "history.csv"), history.frame().to_csv(index=False))
    if predictions is not None:
        import pandas as pd

        columns = {"target": predictions.targets.cpu(), "predicted": predictions.predicted.cpu()}
        write_atomic(Path(folder, PREDICTIONS), pd.DataFrame(columns).to_csv(index=False))
    write_atomic(Path(folder, RESULT), json.dumps(record, indent=2) + "\n")
    return Path(folder, RESULT)


@functools.cache
def commit() -> str:
    """The commit of the clone, with "-dirty" if its files were changed; "" without git."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    if not (PROJECT / ".git").exists():  # git would take a repository around the clone
        return ""
    try:
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def collect(root: Path | str | None = None) -> "pd.DataFrame":
    """Read the records of all runs below `root` (by default `runs/`) into one frame, oldest first.

    There is a row for each `result.json`, and one for each notebook without a record, at the time
    of its `status.json`. `seconds` is the time of the training, `wall_seconds` of the notebook.
    Parameters and results have columns such as `parameters.seed`; missing values are nan.
    Raises FileNotFoundError if there is no such folder, ValueError for an invalid record.
    """
    import pandas as pd

    root = Path(root) if root is not None else ROOT
    if not root.is_dir():
        raise FileNotFoundError(f"There are no runs at {root}. `python -m helpers run` starts one.")
    first = [
        "run", "notebook", "state", "message", "finished", "dataset", "device", "epochs",
        "planned_epochs", "seconds", "wall_seconds", "folder",
    ]  # fmt: skip
    read = functools.partial(_read_either, strict=True, flat=True)
    collected = gc.isenabled()
    gc.disable()  # it would scan millions of new objects many times
    try:
        frame = pd.DataFrame(_merge(read_tree(root, (RESULT, STATUS), read)))
    finally:
        if collected:
            gc.enable()
    columns = [*first, *frame.columns.difference([*first, "written"], sort=False)]
    frame = frame.reindex(columns=[*columns, "written"])
    time = frame["finished"].where(frame["finished"].notna(), frame.pop("written"))
    return frame.loc[time.sort_values(kind="stable").index].reset_index(drop=True)


def read_records(root: Path | str, levels: int) -> list[dict]:
    """The records of the notebooks that are `levels` folders below `root`; then, for notebooks
    without a record, their states. A damaged record has the state "damaged" and a message.
    """
    found: dict[str, dict[str, dict]] = {}
    for name, above in ((RESULT, levels), (STATUS, levels - 1)):
        for path in Path(root).glob("*/" * above + name):
            found.setdefault(str(path.parent), {})[name] = _read_either(path, strict=False)
    return _merge(found)


def _read_either(path: Path, strict: bool, flat: bool = False) -> dict:
    """A record, or the states in a `status.json` by notebook; `flat`: keys like `measured.loss`."""
    flatten = (lambda part: dict(_flat(part))) if flat else dict
    if path.name == RESULT:
        return flatten(_read(path, strict))
    status, states = read_status(path.parent, strict=strict), {}
    written = datetime.datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat()
    for entry in status["notebooks"]:
        name = entry["notebook"]
        known = {"notebook": name, "parameters": status.get("settings", {}).get(name, {})}
        known |= {"state": entry["state"], "message": entry["message"], "written": written}
        states[name] = flatten(known | {"wall_seconds": entry["seconds"]})
    return states


def _flat(record: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _merge(found: dict[str, dict[str, dict]]) -> list[dict]:
    """The records, sorted by folder, with the status added; then notebooks that did not finish."""
    states = {
        f"{folder}{os.sep}{name}": state
        for folder, files in found.items() for name, state in files.get(STATUS, {}).items()
    }  # fmt: skip
    rows = []
    for folder in sorted(folder for folder, files in found.items() if RESULT in files):
        state = states.pop(folder, {})
        row = {"state": "finished"} | _locate(folder) | state | found[folder][RESULT]
        if row.pop("interrupted", False):  # old records have this instead of "state"
            row["state"] = "stopped"
        if state.get("state", "finished") != "finished":  # it failed after writing the record
            row["state"] = state["state"]
        rows.append(row)
    failed = sorted(folder for folder, state in states.items() if state["state"] != "finished")
    return rows + [_locate(folder) | states[folder] for folder in failed]


def _locate(folder: str) -> dict[str, object]:
    parent, name = os.path.split(folder)
    return {"run": os.path.basename(parent), "notebook": name, "folder": folder}


def load_run(folder: Path | str) -> "pd.DataFrame":
    """As `collect`, for one run or notebook, but without the runs that notebooks have started."""
    frame, folder = collect(folder), Path(folder)
    return frame[[folder in (Path(place), Path(place).parent) for place in frame["folder"]]]


def read_status(folder: Path | str, *, strict: bool = True) -> dict:
    """The `status.json` of a run: its `settings`, and its `notebooks` with their `state`.
    Old names of states are replaced. Raises FileNotFoundError without a file. A damaged one raises
    ValueError if `strict`; else it has no notebooks, the `state` "damaged" and a `message`.
    """
    status = {"notebooks": []} | _read(Path(folder, STATUS), strict)
    for entry in status["notebooks"]:
        entry["state"] = _OLD_STATES.get(entry["state"], entry["state"])
    return status


def _read(path: Path, strict: bool) -> dict:
    try:
        content = _check({**json.loads(text := path.read_text(encoding="utf-8"))})
        if r"\ud" in text.lower():  # it may hold half of a surrogate pair
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except (ValueError, TypeError, RecursionError) as error:
        message = f"{path} is not a record of a run: {error}. Delete that folder."
        if strict:
            raise ValueError(message) from error
        return {"state": "damaged", "message": message}


def _check(content: dict) -> dict:
    """Return a record or status if its values are valid; else raise TypeError or ValueError."""
    dicts = [(name, part) for name, part in content.items() if isinstance(part, dict)]
    inner = [(f"{name}.{key}", part[key]) for name, part in dicts for key in part]
    for name, value in [*content.items(), *inner]:
        if not isinstance(value, _kind(name)):
            raise TypeError(f"{name} is {value!r:.80}")
    datetime.datetime.fromisoformat(content.get("finished", "2026-01-01"))
    for entry in content.get("notebooks", ()):
        _check({"notebook": None, "state": None, "message": None, "seconds": None} | entry)
    if not re.fullmatch(r"(\w[\w.-]*)?", content.get("notebook", "")):  # it names a folder
        raise ValueError(f"no notebook is called {content['notebook']!r:.80}")
    return content


@functools.lru_cache(maxsize=1_000)  # most records have the same names
def _kind(name: str) -> Any:
    if name.startswith("settings."):  # by notebook
        return dict
    is_fraction = re.match(r"measured\.(share_|.*accuracy)|parameters\.(scale|erase)$", name)
    return int | float if is_fraction else _KINDS.get(name, object)


def summary(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A row of text for each test accuracy, with the accuracy in the student's report beside it."""
    import pandas as pd

    frame = frame.reindex(columns=frame.columns.union(MEASURED))
    frame = frame.dropna(subset=["measured.test_accuracy"])
    columns = {
        "notebook": frame["notebook"], "data set": frame["dataset"],
        "epochs": frame["epochs"].map(_format_int), "seconds": frame["seconds"].map(_format_int),
        "validation": frame["measured.validation_accuracy"].map(_percent),
        "test": frame["measured.test_accuracy"].map(_percent),
        "report": [f"{r:.0%}" if r else "" for r in map(REPORTED_ACCURACY.get, frame["dataset"])],
    }  # fmt: skip
    return pd.DataFrame(columns)


def overview(frame: "pd.DataFrame", root: Path | str) -> "pd.DataFrame":
    """A row of text for each run in a frame from `collect(root)`, which may be empty."""
    import pandas as pd

    if frame.empty:
        return frame
    frame = frame.reindex(columns=frame.columns.union(MEASURED))
    planned = frame["planned_epochs"].fillna(frame["epochs"])
    of_planned = " of " + planned.map(_format_int)  # such as "2 of 5" for a stopped training
    epochs = frame["epochs"].map(_format_int) + of_planned.where(planned > frame["epochs"], "")
    columns = {
        "run": [Path(folder).relative_to(root).as_posix() for folder in frame["folder"]],
        "when": frame["finished"].astype(object).fillna("").str[:16].str.replace("T", " "),
        "what": frame["notebook"], "data set": frame["dataset"].astype(object).fillna(""),
        "epochs": epochs, "seed": frame["parameters.seed"].map(_format_int),
        "test": frame["measured.test_accuracy"].map(_percent), "state": frame["state"],
        "seconds": frame["seconds"].fillna(frame["wall_seconds"]).map(_format_int),
    }  # fmt: skip
    return pd.DataFrame(columns)


def find(root: Path | str, name: str) -> Path:
    """The folder of the run called `name` in `overview`, or of the only run whose name contains it.

    `root` is the folder of all runs. Raises ValueError unless one run fits, and as `collect`.
    """
    folders = {Path(folder) for folder in collect(root)["folder"]}
    folders |= {folder.parent for folder in folders if folder.parent != Path(root)}
    names = {folder.relative_to(root).as_posix(): folder for folder in folders}
    if name in names:
        return names[name]
    fitting = [known for known in sorted(names) if name in known]
    within = {names[known] for known in fitting}  # if a run and what is in it fit, keep the run
    fitting = [known for known in fitting if within.isdisjoint(names[known].parents)]
    if len(fitting) == 1:
        return names[fitting[0]]
    if not fitting:
        raise ValueError(f"There is no run {name!r} in {root}. `runs` lists all runs.")
    listed = ", ".join(fitting[:5]) + (", …" if len(fitting) > 5 else "")
    raise ValueError(f"{len(fitting)} runs match {name!r}: {listed}. Give more of the name.")


def _format_int(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.0f}"


def _percent(fraction: float) -> str:
    return "" if math.isnan(fraction) else f"{fraction:.2%}"
