"""What did a run do, where is its record, and how do runs compare?

A run is a folder under `runs/`, and each of its notebooks a folder in that. What a notebook
measured is its `result.json`, written whole by its last cell: if the file is there, the notebook
came to its end.
"""

import datetime
import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from helpers.files import PROJECT, write_atomic
if TYPE_CHECKING:  # the command line reads records, and should not wait for torch
    import pandas as pd
    from torch import nn

    from helpers.data import DatasetSpec
    from helpers.training import History

ROOT = PROJECT / "runs"
RESULT = "result.json"
STATUS = "status.json"  # of the notebooks of a run, also of those that left no record
WEIGHTS = "weights.safetensors"
PACKAGES = ("torch", "torchvision", "torchmetrics", "numpy", "image-classification-notebooks")
REPORTED = {
    "mnist": 0.98,
    "fashion_mnist": 0.86,
}  # the test accuracies of the report we started from


def run_dir(output: str, notebook: str) -> Path:
    """Where a notebook leaves its results; for an empty `output`, `runs/by-hand/<notebook>`."""
    return Path(output) if output else ROOT / "by-hand" / notebook


def create_run(root: Path, name: str) -> Path:
    """Make the folder `<root>/<date>-<time>-<name>` for one run; a second one at once gets `-2`.

    Raises OSError, with the folder named, where that cannot be done.
    """
    stamp = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{name}"
    for suffix in ("", *(f"-{i}" for i in range(2, 1_000))):
        path = root / f"{stamp}{suffix}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(
                f"Cannot make the folder {path} ({error.strerror}). "
                f"Name a place that can be written to with --root."
            ) from error
        return path
    raise OSError(f"There are a thousand runs named {stamp} in {root}.")


def save(
    where: Path,
    *,
    notebook: str,
    dataset: "DatasetSpec",
    parameters: Mapping[str, object],
    measured: Mapping[str, object],
    model: "nn.Module | None" = None,
    history: "History | None" = None,
    device: str = "",
) -> Path:
    """Keep what a notebook made in the folder `where`, the record last.

    `weights.safetensors` and `history.csv` are written for a model and a history; `result.json`
    holds the settings in `parameters`, the figures in `measured` (accuracies are fractions in
    [0, 1]), and from what and with what they were made. Returns the path of the record. Raises
    OSError if the folder cannot be written to.
    """
    from helpers import models

    record: dict[str, object] = {
        "notebook": notebook,
        "dataset": dataset.name,
        "data_digest": dataset.digest,
        "parameters": dict(parameters),
        "measured": dict(measured),
        "device": device,
        "versions": {package: version(package) for package in PACKAGES},
        "finished": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    if model is not None:
        record["model"] = model.architecture
        models.save(
            model, where / WEIGHTS, notebook=notebook, dataset=dataset.name, **measured
        )
    if history is not None:
        record["epochs"] = len(history.epochs)
        record["seconds"] = round(history.seconds, 2)
        record["interrupted"] = history.interrupted
        write_atomic(where / "history.csv", history.frame().to_csv(index=False))
    write_atomic(where / RESULT, json.dumps(record, indent=2) + "\n")
    return where / RESULT


def collect(root: Path | str | None = None) -> "pd.DataFrame":
    """Read all that was run below `root` (by default `runs/`) into one frame, oldest first.

    A row for each `result.json`, and below them one for each notebook that left none. Columns:
    `run` and `notebook`, `state` ("done", "failed", …) and `message`, `finished`, `dataset`,
    `device`, `epochs`, `seconds` of training and `wall_seconds` of the whole notebook, `where` its
    folder is; then a column for each parameter, such as `parameters.seed`, and for each figure,
    such as `measured.test_accuracy`; whatever a notebook does not have is nan. Raises
    FileNotFoundError if there is no such folder, ValueError for a record that cannot be read.
    """
    import pandas as pd

    root = Path(root) if root is not None else ROOT
    if not root.is_dir():
        raise FileNotFoundError(f"There are no runs at {root}. `python -m helpers run` makes one.")
    records, told = [], _told(root)
    for path in sorted(root.rglob(RESULT)):
        place = {"run": path.parent.parent.name, "state": "done", "where": str(path.parent)}
        records.append(place | told.pop(path.parent, {}) | _read(path))
    records += [
        {"run": folder.parent.name, "where": str(folder)} | how
        for folder, how in sorted(told.items())
        if how["state"] != "done"
    ]
    first = [
        "run", "notebook", "state", "message", "finished", "dataset", "device", "epochs",
        "seconds", "wall_seconds", "where",
    ]  # fmt: skip
    frame = pd.json_normalize(records)
    return frame.reindex(
        columns=[*first, *frame.columns.difference(first, sort=False)]
    ).sort_values("finished", ignore_index=True)


def load_run(folder: Path) -> "pd.DataFrame":
    """As `collect`, of one run alone: without what its notebooks have run in their turn."""
    frame = collect(folder)
    return frame[frame["run"] == folder.name]


def _told(root: Path) -> dict[Path, dict[str, object]]:
    """What each `status.json` says of each notebook, by the folder of the notebook."""
    told: dict[Path, dict[str, object]] = {}
    for path in root.rglob(STATUS):
        status = _read(path)
        for entry in status["notebooks"]:
            name = entry["notebook"]
            told[path.parent / name] = {
                "notebook": name,
                "state": entry["state"],
                "message": entry["message"],
                "wall_seconds": entry["seconds"],
                "parameters": status.get("settings", {}).get(name, {}),
            }
    return told


def _read(path: Path) -> dict:
    try:
        return {**json.loads(path.read_text())}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of a run: {error}. Delete that folder."
        ) from error


def summary(frame: "pd.DataFrame") -> "pd.DataFrame":
    """What was measured beside what the report says: a row for each test accuracy."""
    import pandas as pd

    rows = [
        {
            "notebook": row["notebook"],
            "data set": row["dataset"],
            "epochs": "" if math.isnan(row["epochs"]) else int(row["epochs"]),
            "seconds": "" if math.isnan(row["seconds"]) else round(row["seconds"]),
            "validation": _percent(row.get("measured.validation_accuracy", math.nan)),
            "test": _percent(row["measured.test_accuracy"]),
            "report": f"{REPORTED[row['dataset']]:.0%}",
        }
        for _, row in frame.iterrows()
        if not math.isnan(row.get("measured.test_accuracy", math.nan))
    ]
    return pd.DataFrame(rows)


def _percent(fraction: float) -> str:
    return "" if math.isnan(fraction) else f"{fraction:.2%}"
