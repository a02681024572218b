"""The facts in the report of a run, which are all read from the files of that run.

Facts that a run does not have are None or empty, and the report says so. The text of the report and
the rules for its verdicts are in `templates/report_body.j2`.
"""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from helpers import data, evaluation, models, runs
from helpers.data import Splits
from helpers.evaluation import Predictions
from helpers.headless.notebooks import PROFILES, SERIES

# by data set: the pairs of classes that are confused according to the student's first report
REPORTED_PAIRS = {"mnist": ("4 / 9",), "fashion_mnist": ("T-shirt/top / Shirt", "Sandal / Sneaker")}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
ORDER = {notebook.name: place for place, notebook in enumerate(SERIES)}
_VALIDATION = ("validation_loss", "validation_accuracy")
_HISTORY = ("epoch", "train_loss", "train_accuracy", *_VALIDATION, "learning_rate")
_CHANGES = ("shift", "degrees", "scale", "flip", "erase")  # of an Augmentation
Row = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """A model that the run has trained and tested."""

    record: Row  # a row of runs.collect, without missing values
    title: str  # of the data set
    classes: Sequence[str]
    history: Sequence[Row]  # one for each epoch
    test: Row | None  # see _tested
    predictions: Predictions | None  # on the test images, if they were saved
    splits: Splits | None  # None if the data cannot be read, or have changed
    model: nn.Module | None
    layers: Sequence[Row]  # of the network
    problem: str  # why the weights cannot be loaded; "" if they can, or if there are none
    changes: Row  # the arguments of Augmentation in the record


@dataclass(frozen=True)
class Audit:
    """What an audit of the labels has found."""

    record: Row
    doubtful: Sequence[Row]  # doubtful labels in its list, by descending score
    images: Mapping[str, Tensor]  # by split; `image` in the list is an index; {} without the data


@dataclass(frozen=True)
class Facts:
    """All facts in the report of a run."""

    run: str  # the name of its folder
    finished: datetime.datetime | None  # the time of its last record
    profile: str  # "standard", "quick" or "full"; "" if the settings differ from all profiles
    settings: Mapping[str, Row]  # by notebook, also for those that were not started
    rows: Sequence[Row]  # one for each notebook or training, in the order of the course
    not_started: Sequence[str]  # notebooks in `settings` without a row
    trainings: Sequence[Training]
    audits: Sequence[Audit]


def collect_facts(folder: Path | str) -> Facts:
    """Read the files of the run in `folder`, which may also be the folder of one of its notebooks.

    Raises FileNotFoundError without the folder, ValueError without a record or for a damaged file.
    """
    folder = Path(folder)
    rows: list[Row] = [
        {str(name): _to_int(v) for name, v in row.items() if v is not None and v == v}
        for row in runs.load_run(folder).to_dict("records")
    ]
    if not rows:
        raise ValueError(f"{folder} has no record of a run, so there is nothing to report.")
    rows.sort(key=lambda row: ORDER.get(row["notebook"], len(ORDER)))
    status = runs.read_status(folder) if (folder / runs.STATUS).is_file() else {}
    settings = status.get("settings", {})
    fitting = [
        profile for profile in ("standard", *PROFILES)
        if settings == {name: PROFILES[profile].get(name, {}) for name in settings}
    ]  # fmt: skip
    profile = fitting[0] if settings and fitting else ""
    dates = [row["finished"] for row in rows if "finished" in row]
    tested = [row for row in rows if {"measured.test_accuracy", "epochs", "dataset"} <= set(row)]
    audits = [row for row in rows if {"measured.test_label_doubtful", "dataset"} <= set(row)]
    # notebook 8 trains and audits: its pictures are read once
    splits = {row["folder"]: _splits(row) for row in rows if row in tested or row in audits}
    return Facts(
        run=folder.name, profile=profile, settings=settings, rows=rows,
        trainings=[_training(row, splits[row["folder"]]) for row in tested],
        audits=[Audit(row, _doubtful(row), _images(row, splits[row["folder"]])) for row in audits],
        finished=datetime.datetime.fromisoformat(max(dates)) if dates else None,
        not_started=sorted(settings.keys() - {row["notebook"] for row in rows}),
    )  # fmt: skip


def _to_int(value: Any) -> Any:
    """Turn 3.0 into 3: pandas stores integers as floats if a value in the column is missing."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _training(row: Row, splits: Splits | None) -> Training:
    folder, name = Path(row["folder"]), row["dataset"]
    model, layers, notes, problem = _network(folder / runs.WEIGHTS)
    spec = splits.spec if splits else data.SPECS.get(name)
    numbers = [str(k) for k in range(row.get("model.num_classes", 10))]
    names = spec.class_names if spec else notes.get("class_names", numbers)
    predictions = _predictions(folder / runs.PREDICTIONS, len(names))
    named = {k.rpartition(".")[2]: v for k, v in row.items() if k.startswith("parameters.")}
    return Training(
        record=row, title=spec.title if spec else name, classes=names, layers=layers,
        problem=problem, changes={k: named[k] for k in _CHANGES if named.get(k)},
        history=_history(folder / "history.csv"),
        test=_tested(predictions, names, row) if predictions else None,
        predictions=predictions, splits=splits, model=model,
    )  # fmt: skip


def _history(path: Path) -> list[Row]:
    """The epochs. Of a training without a validation split, its loss and accuracy are None."""
    frame = _read(path, dict.fromkeys(_HISTORY, "float64"))
    if frame is None:
        return []
    if not frame.fillna(dict.fromkeys(_VALIDATION, 0)).abs().lt(math.inf).all(axis=None):
        raise ValueError(f"{path} is damaged: numbers are missing. Delete it, or train again.")
    epochs = frame.to_dict("records")
    return [{str(k): _to_int(v) if v == v else None for k, v in e.items()} for e in epochs]


def _network(path: Path) -> tuple[nn.Module | None, list[Row], Row, str]:
    """The model, its layers with shapes and parameters, its notes; or why it cannot be loaded."""
    notes: Row = {}
    try:
        about = models.read_metadata(path)
        notes, built = about["notes"], about["architecture"]
        model = models.load(path)
        size = [built.get("channels", 1)] + 2 * [built.get("size", 28)]
        layers = evaluation.layer_summary(model, torch.zeros(1, *size, dtype=torch.uint8))
    except FileNotFoundError:
        return None, [], {}, ""
    except (ValueError, RuntimeError) as error:
        return None, [], notes, str(error).replace(str(path), path.name)
    for layer in layers:
        layer["output"] = layer["output"][1:]  # type: ignore[index]
    return model, layers, notes, ""


def _doubtful(audit: Row) -> list[Row]:
    columns = {"split": str, "verdict": str, "image": "int64", "label": str, "suggested": str}
    frame = _read(Path(audit["folder"], "labels.csv"), columns)
    if frame is None:
        return []
    found = frame[frame["verdict"] == "label doubtful"]
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def _images(audit: Row, splits: Splits | None) -> dict[str, Tensor]:
    if splits is None:
        return {}
    train = splits.labeled
    if audit["dataset"] in TITLES:  # their lists index the published files
        train, _ = data.load_published(audit["dataset"])
    return {"train": train.images, "test": splits.test.images}


def _read(path: Path, columns: Mapping[str, Any]) -> pd.DataFrame | None:
    """Read columns of a CSV file, with their types; None without a file. ValueError if damaged."""
    try:
        # as text first: pandas takes "01" for a number, and "None" for a missing value
        texts = pd.read_csv(path, dtype=str, keep_default_na=False)[list(columns)]
        return texts.replace("", "nan").astype(dict(columns))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}. Delete it, or repeat the run.") from error


def _predictions(path: Path, classes: int) -> Predictions | None:
    """The saved predictions, with logit 1 for the predicted class, else 0; None without a file."""
    frame = _read(path, {"target": "float64", "predicted": "float64"})
    if frame is None or frame.empty:
        return None
    if not frame.isin(range(classes)).all(axis=None):
        raise ValueError(f"{path} is damaged: it has classes outside 0 to {classes - 1}.")
    targets, predicted = torch.tensor(frame.to_numpy()).long().T
    return Predictions(torch.nn.functional.one_hot(predicted, classes).float(), targets)


def _tested(predictions: Predictions, names: Sequence[str], row: Row) -> Row:
    """Facts from the predictions: `images`, `errors`, the `interval` of the recorded accuracy, the
    confusion matrix `counts`, the confused `pairs` with their rank, the pairs `reported` by the
    student, and the measures of the `classes`.
    """
    n, errors = len(predictions), len(evaluation.misclassified(predictions))
    reported = REPORTED_PAIRS.get(row["dataset"], ())
    ranked = evaluation.most_confused_pairs(predictions, names).set_index("pair")["errors"]
    pairs: list[Row] = []
    for pair in dict.fromkeys([*ranked.index[:50], *reported]):
        (first, _, second), count = pair.partition(" / "), int(ranked.get(pair, 0))
        share = count / max(errors, 1)
        pairs.append({
            "pair": pair, "first": first, "second": second, "errors": count, "share": share,
            "interval": evaluation.accuracy_interval(share, max(errors, 1)),
            "rank": 1 + int((ranked > count).sum()),
        })  # fmt: skip
    return {
        "images": n, "errors": errors, "accuracy": evaluation.accuracy(predictions),
        "interval": evaluation.accuracy_interval(row["measured.test_accuracy"], n),
        "counts": evaluation.confusion_matrix(predictions).tolist(),
        "pairs": [pair for pair in pairs if pair["errors"]],
        "reported": [pair for pair in pairs if pair["pair"] in reported],
        "classes": evaluation.per_class(predictions, names).reset_index().to_dict("records"),
    }  # fmt: skip


def _splits(row: Row) -> Splits | None:
    """The data set, if it can be read and is the one that the model was trained and tested on."""
    own = row.get("parameters.dataset")  # a folder; empty for the one that notebook 8 has written
    try:
        if row["dataset"] in TITLES:
            splits = data.load_splits(row["dataset"])
        elif own is None:
            return None
        else:
            options = {k: row[f"parameters.{k}"] for k in ("size", "channels", "skip_broken")
                       if f"parameters.{k}" in row}  # fmt: skip
            source = own or Path(row["folder"], "digits")
            cache = Path(row["folder"]).parents[1] / "data"  # the cache of `train FOLDER`
            splits = data.from_folder(source, cache_dir=cache, progress=False, **options)
    except (ValueError, OSError):
        return None
    found = splits.spec.name, splits.spec.digest  # names of pictures hold that name
    return splits if found == (row["dataset"], row.get("data_digest")) else None
