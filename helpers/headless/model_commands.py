"""The commands `predict`, `export` and `explore`, which use a trained model."""

import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers import runs
from helpers.headless import terminal
from helpers.headless.runs_commands import JsonOption, RootOption
from helpers.headless.terminal import one_of, report_errors

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

FORMATS = ("onnx", "torchscript", "safetensors")
_MODEL = "A run, a file of weights, or a shipped model such as mnist/accurate."
ModelArgument = Annotated[str, typer.Argument(help=_MODEL, metavar="MODEL")]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Output file; by default, named after the model.")
]
CodeOption = Annotated[
    str | None, typer.Option(help="my_file.py:MyNet, if the model is your own class.")
]


def predict(
    files: Annotated[
        list[str], typer.Argument(help="Pictures, folders of pictures, or - for standard input.")
    ],
    model: Annotated[str, typer.Option(help=_MODEL)] = "mnist/accurate",
    code: CodeOption = None,
    as_json: JsonOption = False,
    root: RootOption = runs.ROOT,
) -> None:
    """Classify pictures with a model. If a picture cannot be read, the exit status is 1."""
    import pandas as pd
    import torch

    with report_errors(ValueError, OSError):
        trained, notes, _ = _load(model, code, root)
        trained = trained.to(memory_format=torch.channels_last)  # a quarter faster
        found = _predict(trained, notes, _pictures(files))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        columns = ["file", "predicted", "probability", "problem"]
        table = pd.DataFrame(found).reindex(columns=columns)
        table["probability"] = table["probability"].map("{:.1%}".format, na_action="ignore")
        terminal.print_table(table.dropna(axis="columns", how="all").fillna(""))
    raise typer.Exit(int(any("problem" in row for row in found)))


def _pictures(names: Sequence[str]) -> dict[str, Path | bytes]:
    """The path, or content, of each picture by its name in the output. Folders are searched."""
    from helpers.data import SUFFIXES

    found: dict[str, Path | bytes] = {}
    for name in names:
        if name == "-":
            found[name] = sys.stdin.buffer.read()
        elif Path(name).is_dir():
            inside = sorted(p for p in Path(name).rglob("[!.]*") if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"There are no pictures in {name}.")
            found |= {str(path): path for path in inside}
        else:
            found[name] = Path(name)
    return found


def _predict(
    model: "Module", notes: dict[str, Any], pictures: dict[str, Path | bytes]
) -> list[dict[str, Any]]:
    """A record for each picture: the `predicted` class and its `probability`, or a `problem`."""
    from helpers import data

    photographs = {}
    if notes.get("dataset") in data.SPECS:  # other sizes than 28 × 28 are taken for photographs
        photographs = {name: p for name, p in pictures.items() if _size(p) not in (None, (28, 28))}
    others = {name: p for name, p in pictures.items() if name not in photographs}
    found = _classify(model, notes, others)
    for name, picture in photographs.items():
        source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        try:
            if notes["dataset"] == "mnist":
                found[name] = _read_digits(model, source)
            else:
                found[name] = _answers(model, notes, data.read_garment(source))[0]
        except (ValueError, OSError) as error:
            found[name] = {"problem": str(error).replace(str(source), name)}
    return [{"file": name} | found[name] for name in pictures]


def _size(picture: Path | bytes) -> tuple[int, int] | None:
    """Width and height of a picture, or None if its header cannot be read."""
    from PIL import Image

    source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    damaged = OSError, ValueError, Image.DecompressionBombError
    with suppress(*damaged), warnings.catch_warnings(action="ignore"), Image.open(source) as opened:
        return opened.size
    return None


def _read_digits(model: "Module", picture: Path | io.BytesIO) -> dict[str, Any]:
    from helpers import evaluation

    read = evaluation.read_handwriting(model, picture)
    parts = zip(read.digits.tolist(), read.probabilities.tolist(), strict=True)
    boxes, reasons = read.handwriting.boxes.tolist(), read.rejections
    things = [
        {"digit": digit if not reason else None, "probability": round(p, 6), "box": box}
        | ({"rejection": reason} if reason else {})
        for (digit, p), box, reason in zip(parts, boxes, reasons, strict=True)
    ]
    sure = [thing["probability"] for thing in things if thing["digit"] is not None]
    return {"predicted": str(read), "probability": min(sure, default=None), "things": things}


def _classify(
    model: "Module", notes: dict[str, Any], pictures: dict[str, Path | bytes]
) -> dict[str, dict[str, Any]]:
    """Classify pictures of one object each, in the format of the model's training images."""
    from helpers import data

    about = getattr(model, "architecture", {})
    size, channels = about.get("size", 28), about.get("channels", 1)
    show = terminal.show_progress()
    arrays = data.read_pictures(list(pictures.values()), size=size, progress=show)
    named = dict(zip(pictures, arrays, strict=True))
    found: dict[str, dict[str, Any]] = {
        name: {"problem": f"cannot be read: {why}"}
        for name, why in named.items() if isinstance(why, str)
    }  # fmt: skip
    readable = {name: array for name, array in named.items() if not isinstance(array, str)}
    if not readable:
        return found
    answers = _answers(model, notes, data.stack(list(readable.values()), channels))
    return found | dict(zip(readable, answers, strict=True))


def _answers(model: "Module", notes: dict[str, Any], images: "Tensor") -> list[dict[str, Any]]:
    """For each image of uint8 (N, C, S, S): the predicted class, and all classes' probabilities."""
    from helpers import data, evaluation

    probabilities = evaluation.predict(model, images).probabilities
    spec = data.SPECS.get(notes.get("dataset", ""))
    classes = notes.get("class_names") or (spec.class_names if spec else ())
    classes = classes or [str(k) for k in range(probabilities.shape[1])]
    answers = []
    for row in probabilities.tolist():
        of_class = {c: round(p, 6) for c, p in zip(classes, row, strict=True)}
        best = max(of_class, key=of_class.__getitem__)
        answers.append(dict(predicted=best, probability=of_class[best], probabilities=of_class))
    return answers


def export(
    run: ModelArgument,
    to: Annotated[
        str,
        typer.Option(
            help="onnx, torchscript or safetensors.",
            **one_of("format", FORMATS) | {"metavar": "FORMAT"},
        ),
    ],
    out: OutOption = None,
    code: CodeOption = None,
    root: RootOption = runs.ROOT,
) -> None:
    """Export a trained model to a file for other programs, and check that it computes the same."""
    from helpers import models

    with report_errors(ValueError, OSError, ImportError):
        model, notes, kind = _load(run, code, root)
        path = _name(out, notes, f"{kind}{models.FORMATS[to]}")
        difference = models.export(model, path, to, notes=notes)
    typer.echo(
        f"Wrote {path} ({path.stat().st_size / 1e3:,.0f} kB). On 1,000 images its logits differ "
        f"from those of the model by at most {difference:.1e}."
    )


def explore(
    run: ModelArgument, out: OutOption = None, code: CodeOption = None, root: RootOption = runs.ROOT
) -> None:
    """Write a web page that shows what each layer of a model computes."""
    from helpers import data, evaluation, models

    with report_errors(ValueError, OSError):
        weights = _find_weights(run, root)
        model, notes, kind = _load(str(weights), code, root)
        records = runs.read_records(weights.parent, levels=0)  # the one beside the weights
        dates = [str(record["finished"])[:10] for record in records if "finished" in record]
        about = {"date": "".join(dates[:1]), "sha256": models.read_metadata(weights)["sha256"]}
        examples = None
        with suppress(FileNotFoundError):  # without the archives the page has no images
            if notes.get("dataset") in data.SPECS:
                examples = data.load_splits(notes["dataset"]).test
        path = _name(out, notes, f"{kind}-explorer.html")
        evaluation.write_explorer(model, path, examples=examples, notes=about | notes)
    size = f"{path.stat().st_size / 1e3:,.0f} kB"
    typer.echo(f"Wrote {path} ({size}). Open it in a browser; it needs no network.")


def _name(out: Path | None, notes: dict[str, Any], ending: str) -> Path:
    """The file to write: `out`; or, in that folder or here, one named after data set and model."""
    name = f"{notes.get('dataset', 'model')}-{ending}"
    return out / name if out and out.is_dir() else out or Path(name)


def _load(name: str, code: str | None, root: Path) -> "tuple[Module, dict[str, Any], str]":
    """The model, the notes in its checkpoint, and its name if it is shipped, else its network's."""
    from helpers import models

    weights = _find_weights(name, root)
    metadata = models.read_metadata(weights)
    architecture = metadata["architecture"]
    kind = str(architecture.get("name") or architecture.get("class")).rpartition(":")[2]
    kwargs = {k: v for k, v in architecture.items() if k not in ("name", "class", "source")}
    model = models.load(weights, into=models.build(code, **kwargs) if code else None)
    return model, metadata["notes"], weights.stem if name in models.list_pretrained() else kind


def _find_weights(name: str, root: Path) -> Path:
    """The path of the weights of a run, of a shipped model, or of a file with this name."""
    from helpers import models

    if name in models.list_pretrained():
        return models.PRETRAINED / f"{name}.safetensors"
    if os.path.isfile(name) or name.endswith(".safetensors"):
        return Path(name)
    try:
        found = sorted(runs.find(root, name).rglob(runs.WEIGHTS))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{error} Shipped are: {', '.join(models.list_pretrained())}.") from error
    if len(found) != 1:
        listed = ", ".join(path.parent.relative_to(root).as_posix() for path in found) or "none"
        raise ValueError(f"Expected one file of weights in {name!r}, got: {listed}. Name one run.")
    return found[0]
