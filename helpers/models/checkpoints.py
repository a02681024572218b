"""How is what was learned kept and trusted?

A checkpoint is one safetensors file: the weights, and beside them as text how to build the model,
what its maker wants remembered, and a SHA-256 of the weights. Loading one runs no foreign code.
"""

import hashlib
import json
from pathlib import Path
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from helpers.files import write_atomic
from helpers.models.networks import build

PRETRAINED = Path(__file__).parent / "weights"


class CheckpointError(ValueError):
    """The file is no checkpoint of ours, is damaged, or holds another model."""


def save(model: nn.Module, path: Path | str, **notes: object) -> Path:
    """Write the weights of a model from `models.build`, and `notes` that JSON can hold.

    The file is written whole or not at all. Raises ValueError for a model that does not know how
    it was built.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(getattr(model, "architecture", None), dict):
        raise ValueError(
            "Only models from models.build can be saved: others could not be built again."
        )
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    about = {"architecture": model.architecture, "sha256": _digest(weights), "notes": notes}
    content = safetensors.torch.save(weights, metadata={"about": json.dumps(about)})
    write_atomic(Path(path), content)
    return Path(path)


def load(
    path: Path | str, architecture: str | None = None, *, dataset: str | None = None
) -> nn.Module:
    """Build the model that was saved at `path` and give it its weights, on the CPU, in eval mode.

    With `architecture`, such as "tiny_vgg", or `dataset`, such as "mnist", a model of another kind
    or one that was trained on other data is refused. Raises FileNotFoundError if there is no such
    file, and CheckpointError if it cannot be trusted or is not what was asked for.
    """
    about = read_metadata(path)
    built = about["architecture"]
    if architecture is not None and built.get("name") != architecture:
        raise CheckpointError(f"{path} holds a {built.get('name')!r}, wanted a {architecture!r}.")
    trained_on = about["notes"].get("dataset")
    if dataset is not None and trained_on != dataset:
        raise CheckpointError(f"{path} was trained on {trained_on!r}, wanted {dataset!r}.")
    weights = safetensors.torch.load(Path(path).read_bytes())
    if _digest(weights) != about["sha256"]:
        raise CheckpointError(
            f"{path} is damaged: its weights have SHA-256 {_digest(weights)}, "
            f"wanted {about['sha256']}. Train again, or restore the file."
        )
    try:
        model = build(**built)
        model.load_state_dict(weights)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit the models of this version: {error}") from error
    return model.eval()


def read_metadata(path: Path | str) -> dict:
    """What a checkpoint says of itself: `architecture`, `sha256`, and the maker's `notes`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no checkpoint at {path}. Notebooks 02 and 03 make them; "
            f"`load_pretrained` has {', '.join(pretrained())}."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        about = json.loads(metadata["about"])
        described = {"architecture": dict, "sha256": str, "notes": dict}
        if not all(isinstance(about.get(name), kind) for name, kind in described.items()):
            raise KeyError(", ".join(described))
        return about
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of this project, or was cut short ({error!r})."
        ) from error


def list_pretrained() -> list[str]:
    """The names that `load_pretrained` knows, such as "mnist/tiny_vgg"."""
    shipped = (path.relative_to(PRETRAINED) for path in PRETRAINED.rglob("*.safetensors"))
    return sorted(path.with_suffix("").as_posix() for path in shipped)


def load_pretrained(name: str) -> nn.Module:
    """Load weights that are shipped with the package, by "<data set>/<model>".

    Raises ValueError if there are none of that name.
    """
    if name not in list_pretrained():
        raise ValueError(
            f"No weights named {name!r} are shipped. Choose one of: {', '.join(pretrained())}."
        )
    return load(PRETRAINED / f"{name}.safetensors")


def _digest(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the weights, in the order of their names."""
    total = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
