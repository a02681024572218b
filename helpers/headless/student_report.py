"""What the report of a run states: all of it is read from the files of that run.

What a run does not have is None or empty, and the report says so. Its words and the rules of its
verdicts are in `templates/report_body.j2`.
"""

import datetime
import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers import runs
from helpers.headless.notebooks import PROFILES, SERIES

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from helpers.data import Splits
    from helpers.evaluation import Predictions

# the pairs of classes that the start report calls confused, by data set
REPORTED_PAIRS = {"mnist": ("4 / 9",), "fashion_mnist": ("T-shirt/top / Shirt", "Sandal / Sneaker")}
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}
_ORDER = {notebook.name: place for place, notebook in enumerate(SERIES)}
_HISTORY = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy",
            "learning_rate")  # fmt: skip
_CHANGES = ("shift", "degrees", "scale", "flip", "erase")  # of an Augmentation
Row = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """A model that the run has trained and tested."""

    record: Row  # as a row of runs.collect, without what it does not have
    title: str  # of the data set
    classes: Sequence[str]
    history: Sequence[Row]  # one for each epoch
    test: Row | None  # see _tested
    sizes: Row | None  # of the splits and their images; None if the data are not here or changed
    layers: Sequence[Row]  # of the network
    problem: str  # why there are no layers, though there are weights
    changes: Row  # augmentation that the record names
    galleries: Mapping[str, Sequence[Row]] = field(default_factory=dict)  # "random", "confident"
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # PNG files by name


@dataclass(frozen=True)
class Facts:
    """All that the report of a run states."""

    run: str  # the name of its folder
    finished: datetime.datetime | None  # its last record
    profile: str  # "standard", "quick" or "full"; "" if its settings are of its own
    rows: Sequence[Row]  # one for each notebook or training, in the order of the course
    not_started: Sequence[str]  # notebooks that were to be run
    trainings: Sequence[Training]
    commands: Sequence[str]  # that repeat it


def collect_facts(folder: Path) -> Facts:
    """Read the files of the run in `folder`, or of one of its notebooks.

    Raises ValueError if there are none, or if one is damaged.
    """
    rows: list[Row] = [
        {str(name): _whole(v) for name, v in row.items() if v is not None and v == v}
        for row in runs.collect(folder).to_dict("records")
        if folder in (Path(row["folder"]), Path(row["folder"]).parent)
    ]
    if not rows:
        raise ValueError(f"{folder} has no record of a run, so there is nothing to report.")
    rows.sort(key=lambda row: _ORDER.get(row["notebook"], len(_ORDER)))
    status = runs.read_status(folder) if (folder / runs.STATUS).is_file() else {}
    settings = status.get("settings", {})
    fitting = [
        profile for profile in ("standard", *PROFILES)
        if all(given == PROFILES[profile].get(name, {}) for name, given in settings.items())
    ]  # fmt: skip
    profile = fitting[0] if settings and fitting else ""
    dates = [row["finished"] for row in rows if "finished" in row]
    tested = [row for row in rows if {"measured.test_accuracy", "epochs"} <= set(row)]
    return Facts(
        run=folder.name, rows=rows, profile=profile, commands=_commands(rows, settings, profile),
        trainings=[_training(row) for row in tested],
        finished=datetime.datetime.fromisoformat(max(dates)) if dates else None,
        not_started=sorted(set(settings) - {row["notebook"] for row in rows}),
    )  # fmt: skip


def _whole(value: Any) -> Any:
    """Whole numbers as such: pandas makes them fractional where another row has none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _commands(rows: Sequence[Row], settings: Mapping[str, Row], profile: str) -> list[str]:
    """The calls of the command line that do the same again."""
    lines, by_hand = [], {}
    for row in rows:
        given = {k.removeprefix("parameters."): v for k, v in row.items() if "parameters." in k}
        kind, _, dataset = row["notebook"].partition("_")
        if kind in ("train", "audit"):
            words = [kind, dataset if dataset in TITLES else "FOLDER"]
            for name in ("recipe", "seed", "folds", "seeds"):
                words += [f"--{name}", str(given[name])] if name in given else []
            lines.append(words)
        elif row["notebook"] in _ORDER:
            by_hand[row["notebook"]] = {k: v for k, v in given.items() if k != "checkpoint"}
    if settings or by_hand:
        words = ["run"] + (["--profile", profile] if profile not in ("", "standard") else [])
        for name, given in {} if profile else (settings or by_hand).items():
            words += [w for k, v in given.items() for w in ("-p", f"{name[:2]}.{k}={v}")]
        if (settings or by_hand).keys() != _ORDER.keys():
            words += [w for name in settings or by_hand for w in ("--only", name[:2])]
        lines.append(words)
    return [f"python -m helpers {shlex.join(words)}" for words in lines]


def _training(row: Row) -> Training:
    from helpers import data

    folder, name = Path(row["folder"]), row["dataset"]
    model, layers, notes, problem = _network(folder / runs.WEIGHTS)
    splits = _splits(row)
    spec = splits.spec if splits else data.SPECS.get(name)
    numbers = [str(k) for k in range(row.get("model.num_classes", 10))]
    names = spec.class_names if spec else notes.get("class_names", numbers)
    predictions = _predictions(folder / runs.PREDICTIONS, len(names))
    named = {k.rpartition(".")[2]: v for k, v in row.items() if k.startswith("parameters.")}
    frame = _read(folder / "history.csv", _HISTORY)
    epochs = [] if frame is None else frame.to_dict("records")
    training = Training(
        record=row, title=spec.title if spec else name, classes=names, layers=layers,
        problem=problem, changes={k: named[k] for k in _CHANGES if named.get(k)},
        history=[{str(k): _whole(v) if v == v else None for k, v in e.items()} for e in epochs],
        test=_tested(predictions, names, row) if predictions else None, sizes=None,
    )  # fmt: skip
    if splits is None:
        return training
    sizes = {part: len(getattr(splits, part)) for part in ("train", "validation", "test")}
    shown = {f"samples-{name}.png": _samples(splits, training.changes)}
    galleries = _errors(splits, predictions, model, row.get("parameters.seed", 0))
    for e in (e for errors in galleries.values() for e in errors):
        shown[e["picture"]] = _png(splits.test.images[e["image"]])
    sizes["size"] = splits.spec.size
    return replace(training, sizes=sizes, galleries=galleries, pictures=shown)


def _network(path: Path) -> "tuple[nn.Module | None, list[Row], Row, str]":
    """The model, its layers with shapes and parameters, its notes; and why it cannot be loaded."""
    import torch

    from helpers import evaluation, models

    try:
        about = models.read_metadata(path)
        model, built = models.load(path), about["architecture"]
        size = [built.get("channels", 1)] + 2 * [built.get("size", 28)]
        layers = evaluation.layer_summary(model, torch.zeros(1, *size, dtype=torch.uint8))
    except FileNotFoundError:
        return None, [], {}, ""
    except (ValueError, RuntimeError) as error:
        return None, [], {}, str(error).replace(str(path), path.name)
    for layer in layers:
        layer["output"] = layer["output"][1:]  # type: ignore[index]
    return model, layers, about["notes"], ""


def _read(path: Path, columns: Sequence[str]) -> "pd.DataFrame | None":
    """A file of numbers with these columns; None if there is none. ValueError for a damaged one."""
    import pandas as pd

    try:
        return pd.read_csv(path)[list(columns)].astype("float64")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged: {error}. Delete it, or run that again.") from error


def _predictions(path: Path, classes: int) -> "Predictions | None":
    """Predictions of the test images, whose logits are 1 for the predicted class, else 0."""
    import torch

    from helpers.evaluation import Predictions

    frame = _read(path, ("target", "predicted"))
    if frame is None or frame.empty:
        return None
    if not frame.isin(range(classes)).all(axis=None):
        raise ValueError(f"{path} is damaged: it has classes outside 0 to {classes - 1}.")
    targets, predicted = torch.tensor(frame.to_numpy()).long().T
    return Predictions(torch.nn.functional.one_hot(predicted, classes).float(), targets)


def _tested(predictions: "Predictions", names: Sequence[str], row: Row) -> Row:
    """What the predictions tell: `images`, `errors`, the `interval` of the recorded accuracy, the
    confusion matrix `counts`, the confused `pairs` with their rank, those that the start report
    names, and the measures of each class.
    """
    from helpers import evaluation

    n, errors = len(predictions), len(evaluation.mistakes(predictions))
    reported = REPORTED_PAIRS.get(row["dataset"], ())
    ranked = evaluation.ranked_pairs(predictions, names).set_index("pair")["errors"]
    pairs: list[Row] = []
    for pair in dict.fromkeys([*ranked.index, *reported]):
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


def _splits(row: Row) -> "Splits | None":
    """The data set, if it can be read and is the one that the model was trained and tested on."""
    from helpers import data

    own = row.get("parameters.dataset")  # of notebook 8; empty for the folder that it has written
    try:
        if row["dataset"] in TITLES:
            splits = data.load_splits(row["dataset"])
        elif own is None:
            return None
        else:
            options = {k: row[f"parameters.{k}"] for k in ("size", "skip_broken")
                       if f"parameters.{k}" in row}  # fmt: skip
            source = own or Path(row["folder"], "digits")
            splits = data.from_folder(source, progress=False, **options)
    except (ValueError, OSError):
        return None
    return splits if splits.spec.digest == row.get("data_digest") else None


def _samples(splits: "Splits", changes: Row) -> bytes:
    """A PNG: the first training image of each of ten classes; below, two random variants."""
    import torch

    from helpers import data

    train, generator = splits.train, torch.Generator().manual_seed(0)
    first = [int((train.targets == k).nonzero()[0]) for k in train.targets.unique()[:10]]
    strips, augment = [train.images[first]], data.Augmentation(**changes)
    strips += [augment(strips[0], generator).round().byte() for _ in range(2 * bool(changes))]
    strips = [torch.nn.functional.pad(strip, [1] * 4, value=255) for strip in strips]
    return _png(torch.cat([torch.cat([*strip], dim=2) for strip in strips], dim=1))


def _errors(
    splits: "Splits", predictions: "Predictions | None", model: "nn.Module | None", seed: int
) -> dict[str, list[Row]]:
    """Nine random errors, and the nine of which the model is most confident, if it is here."""
    from helpers import evaluation

    if predictions is None or not splits.test.targets.equal(predictions.targets):
        return {}
    chosen = {"random": evaluation.random_mistakes(predictions, 9, seed=seed).tolist()}
    wrong, names, sure = evaluation.mistakes(predictions), splits.spec.class_names, {}
    if model is not None and len(wrong):
        again = evaluation.predict(model, splits.test[wrong])
        same = again.predicted == predictions.predicted[wrong]  # other hardware may round otherwise
        sure = dict(zip(wrong[same].tolist(), again.confidence[same].tolist(), strict=True))
        chosen["confident"] = sorted(sure, key=lambda i: -sure[i])[:9]
    return {
        kind: [
            {"picture": f"error-{splits.spec.name}-{i}.png", "image": i, "confidence": sure.get(i),
             "true": names[predictions.targets[i]], "predicted": names[predictions.predicted[i]]}
            for i in rows
        ] for kind, rows in chosen.items()
    }  # fmt: skip


def _png(image: "Tensor") -> bytes:
    """An image uint8 (C, H, W) as the content of a PNG file, each pixel as three by three."""
    from PIL import Image

    large = image.repeat_interleave(3, 1).repeat_interleave(3, 2).movedim(0, 2).squeeze(2)
    file = io.BytesIO()
    Image.fromarray(large.numpy()).save(file, "PNG")
    return file.getvalue()
