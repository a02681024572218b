"""Save models to checkpoints and load them.

A checkpoint is one safetensors file. It holds the weights and, as JSON text, the arguments that
build the model, notes and the SHA-256 of the weights. Loading runs no code from the file.
"""

import hashlib
import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from helpers.files import write_atomic
from helpers.messages import check_name
from helpers.models.networks import build

PRETRAINED = Path(__file__).parent / "weights"


class CheckpointError(ValueError):
    """The file is not a checkpoint of this project, is damaged, or does not fit."""


def save(model: nn.Module, path: Path | str, **notes: object) -> Path:
    """Write the weights of a model, and `notes` as JSON, to `path` atomically; return the path.

    To `load` a class outside MODELS, pass `into`. Raises TypeError if JSON cannot hold `notes`.
    """
    model = getattr(model, "_orig_mod", model)  # the model inside the wrapper of torch.compile
    # cloned, since safetensors refuses weights that layers share
    weights = {n: w.detach().cpu().contiguous().clone() for n, w in model.state_dict().items()}
    about = {"architecture": describe(model), "sha256": weights_digest(weights), "notes": notes}
    content = safetensors.torch.save(weights, metadata={"about": json.dumps(about)})
    write_atomic(Path(path), content)
    return Path(path)


def describe(model: nn.Module) -> dict[str, object]:
    """The arguments of `build` that make the model; if it was made otherwise, only its `class`."""
    return getattr(model, "architecture", None) or {"class": type(model).__qualname__}


def load(
    path: Path | str, *, dataset: str | None = None, into: nn.Module | None = None
) -> nn.Module:
    """Load the model at `path`, on the CPU and in evaluation mode.

    With `dataset`, such as "mnist", the model must have been trained on it. For a class of your
    own, `into` is a model that gets the weights, since a file must not choose the code that runs.
    Raises FileNotFoundError, and CheckpointError if the file is damaged or does not fit.
    """
    metadata = read_metadata(path)
    trained_on = metadata["notes"].get("dataset")
    if dataset is not None and trained_on != dataset:
        raise CheckpointError(f"{path} was trained on {trained_on!r}, not on {dataset!r}.")
    weights = safetensors.torch.load(Path(path).read_bytes())
    if weights_digest(weights) != metadata["sha256"]:
        digests = f"{weights_digest(weights)}, expected {metadata['sha256']}"
        advice = "Train again, or restore the file."
        raise CheckpointError(f"{path} is damaged: its weights have SHA-256 {digests}. {advice}")
    architecture = metadata["architecture"]
    name = str(architecture.get("class") or architecture.get("name"))
    if into is None and ("class" in architecture or ".py:" in name):
        raise CheckpointError(
            f"{path} holds the weights of a class that is not in this package, {name}. Build the "
            "model and pass it to models.load(path, into=model); on the command line, use --code."
        )
    try:
        if into is None:
            with torch.device("meta"):  # a model of any size needs no memory there
                _fill(build(**architecture), weights, assign=True)
        return _fill(build(**architecture) if into is None else into.cpu(), weights).eval()
    except (TypeError, ValueError, RuntimeError) as error:
        why = "; ".join(line.strip() for line in str(error).splitlines()[:3])  # one per tensor
        raise CheckpointError(f"{path} does not fit the models of this version: {why}") from error


def read_metadata(path: Path | str) -> dict:
    """The metadata of a checkpoint: `architecture`, `sha256` and `notes`. Raises as `load`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no checkpoint at {path}. Notebooks 02 and 03 write checkpoints; "
            f"`load_pretrained` has {', '.join(list_pretrained())}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {**json.loads((file.metadata() or {})["about"])}
        fields = {"architecture": dict, "sha256": str, "notes": dict}
        if not all(isinstance(metadata.get(name), kind) for name, kind in fields.items()):
            raise KeyError(", ".join(fields))
        return metadata
    except (SafetensorError, KeyError, RecursionError, TypeError, ValueError) as error:
        message = f"{path} is not a checkpoint of this project, or is incomplete ({error!r})."
        raise CheckpointError(message) from error


def list_pretrained() -> list[str]:
    """The names that `load_pretrained` accepts, such as "mnist/tiny_vgg"."""
    shipped = (path.relative_to(PRETRAINED) for path in PRETRAINED.rglob("*.safetensors"))
    return sorted(path.with_suffix("").as_posix() for path in shipped)


def load_pretrained(name: str) -> nn.Module:
    """Load a shipped model, such as "mnist/tiny_vgg". Raises ValueError for an unknown name."""
    check_name("shipped model", name, list_pretrained())
    return load(PRETRAINED / f"{name}.safetensors")


def _fill(model: nn.Module, weights: dict[str, Tensor], *, assign: bool = False) -> nn.Module:
    """Put weights into the model. Files of version 0.1, such as those shipped, have old names."""
    own = model.state_dict().keys()
    new = {"normalise": "normalize", "change": "shortcut", "shrink": "stem"}
    names = {n: ".".join(new.get(part, part) for part in n.split(".")) for n in weights}
    weights = {n if n in own else names[n]: tensor for n, tensor in weights.items()}
    model.load_state_dict(weights, assign=assign)
    return model


def weights_digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 (64 hex digits) of names, dtypes, shapes and bytes of the weights, sorted by name."""
    total = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
