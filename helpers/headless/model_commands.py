"""The commands `predict` and `export`, which use a trained model."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers import runs
from helpers.headless import terminal
from helpers.headless.runs_commands import JsonOption, RootOption
from helpers.headless.terminal import one_of, report_errors

if TYPE_CHECKING:
    from torch.nn import Module

FORMATS = ("onnx", "torchscript", "safetensors")
_MODEL = "A run, a file of weights, or a shipped model such as mnist/accurate."
CodeOption = Annotated[
    str | None, typer.Option(help="my_file.py:MyNet, if the model is a class of your own.")
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
    """Say what a model sees in pictures. If one cannot be read, the exit status is 1."""
    import pandas as pd

    with report_errors(ValueError, OSError):
        trained, notes, _ = _load(model, code, root.resolve())
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
    """The picture files, those in folders included, by what they are called in the answer."""
    from helpers import data

    found: dict[str, Path | bytes] = {}
    for name in names:
        if name == "-":
            found[name] = sys.stdin.buffer.read()
        elif Path(name).is_dir():
            inside = sorted(p for p in Path(name).rglob("*") if p.suffix.lower() in data.SUFFIXES)
            if not inside:
                raise ValueError(f"There are no pictures in {name}.")
            found |= {str(path): path for path in inside}
        else:
            found[name] = Path(name)
    return found


def _predict(
    model: "Module", notes: dict[str, Any], pictures: dict[str, Path | bytes]
) -> list[dict[str, Any]]:
    """For each picture its `predicted` class, with its `probability` and all; or a `problem`."""
    from helpers import data, evaluation

    spec, about = data.SPECS.get(notes.get("dataset", "")), getattr(model, "architecture", {})
    size, channels = about.get("size", 28), about.get("channels", 1)
    arrays = data.read_pictures(
        list(pictures.values()), size=size, progress=terminal.show_progress()
    )
    records: list[dict[str, Any]] = [{"file": name} for name in pictures]
    readable = []
    for record, array in zip(records, arrays, strict=True):
        if isinstance(array, str):
            record["problem"] = f"cannot be read: {array}"
        else:
            readable.append((record, array))
    if readable:
        images = data.stack([array for _, array in readable], channels)
        probabilities = evaluation.predict(model, images).probabilities
        names = notes.get("class_names") or (spec.class_names if spec else ())
        names = names or [str(k) for k in range(probabilities.shape[1])]
        for (record, _), row in zip(readable, probabilities.tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            record |= {"predicted": names[best], "probability": round(row[best], 6)}
            record["probabilities"] = {n: round(p, 6) for n, p in zip(names, row, strict=True)}
    return records


def export(
    run: Annotated[
        str,
        typer.Argument(help="A run, a file of weights, or a shipped model such as mnist/accurate."),
    ],
    to: Annotated[
        str,
        typer.Option(
            help="onnx, torchscript or safetensors.",
            **one_of("format", FORMATS) | {"metavar": "FORMAT"},
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file; else it is named after the model.")
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="my_file.py:MyNet, if the model is a class of your own.")
    ] = None,
    root: RootOption = runs.ROOT,
) -> None:
    """Export a trained model to a file for other programs, and check that it computes the same."""
    from helpers import models

    with report_errors(ValueError, OSError, ImportError):
        model, notes, kind = _load(run, code, root.resolve())
        name = f"{notes.get('dataset', 'model')}-{kind}{models.FORMATS[to]}"
        path = out / name if out and out.is_dir() else out or Path(name)
        difference = models.export(model, path, to, notes=notes)
    typer.echo(
        f"Wrote {path} ({path.stat().st_size / 1e3:,.0f} kB). On 1,000 images its logits differ "
        f"from those of the model by at most {difference:.1e}."
    )


def _load(name: str, code: str | None, root: Path) -> "tuple[Module, dict[str, Any], str]":
    """The model of that name, the notes of its weights, and what kind of model it is."""
    from helpers import models

    weights = _find_weights(name, root)
    metadata = models.read_metadata(weights)
    architecture = metadata["architecture"]
    kind = str(architecture.get("name") or architecture.get("class")).rpartition(":")[2]
    kwargs = {k: v for k, v in architecture.items() if k not in ("name", "class", "source")}
    model = models.load(weights, into=models.build(code, **kwargs) if code else None)
    return model, metadata["notes"], kind


def _find_weights(name: str, root: Path) -> Path:
    """The weights of a run, of a shipped model, or in a file of that name."""
    from helpers import models

    if name in models.list_pretrained():
        return models.PRETRAINED / f"{name}.safetensors"
    if Path(name).is_file() or name.endswith(".safetensors"):
        return Path(name)
    try:
        found = sorted(runs.find(root, name).rglob(runs.WEIGHTS))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{error} Shipped are: {', '.join(models.list_pretrained())}.") from error
    if len(found) != 1:
        listed = ", ".join(path.parent.relative_to(root).as_posix() for path in found) or "none"
        raise ValueError(f"Wanted one file of weights in {name!r}, found: {listed}. Name one run.")
    return found[0]
