"""A web page that shows what each layer of a model computes, number by number."""

import base64
import copy
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from helpers import data, models
from helpers.data import Split
from helpers.evaluation.predictions import predict
from helpers.files import write_atomic

LARGEST_PAGE = 300_000  # bytes
EXAMPLES = 40_000  # bytes of images in a page; three images of each class of MNIST have 23,520
SUPPORTED = "Normalize, Conv2d, BatchNorm, ReLU, MaxPool2d, AvgPool2d, Flatten, Linear, Dropout"
_NEEDED = dict(groups=1, dilation=1, padding_mode="zeros", ceil_mode=False, divisor_override=None)


def write_explorer(
    model: nn.Module, path: Path | str, *, examples: Split | None = None,
    notes: Mapping[str, Any] = MappingProxyType({}),
) -> Path:  # fmt: skip
    """Write one HTML file that shows how `model` computes its output, and return the path.

    The page computes every layer in the browser, offline, with the model's weights. Its input is
    drawn by the reader, or chosen from `examples`, such as the test split: for each class, up to
    two images that the model predicts correctly and one that it does not. `notes` may hold
    "dataset", "class_names", "test_accuracy" in [0, 1], "date" and "sha256". Without class names,
    those of the data set are used, or numbers. Raises ValueError if a layer is not in SUPPORTED or
    has an option such as `groups`, if the model is not a sequence of layers, if the number of names
    is wrong, or if the page has more than LARGEST_PAGE bytes; OSError if it cannot be written.
    """
    import jinja2

    model = copy.deepcopy(getattr(model, "_orig_mod", model)).cpu().float().eval()
    about = getattr(model, "architecture", {})
    size = about.get("size", 28)
    shape = tuple(examples.images.shape[1:]) if examples else (about.get("channels", 1), size, size)
    layers, weights = _read_layers(model, shape)
    spec = data.SPECS.get(notes.get("dataset", ""))
    names = list(notes.get("class_names") or (spec.class_names if spec else ()))
    names = names or [str(k) for k in range(layers[-1]["shape"][0])]
    if [len(names)] != layers[-1]["shape"]:
        raise ValueError(f"Got {len(names)} class names for an output of {layers[-1]['shape']}.")
    content = {
        "shape": shape, "classes": names, "layers": layers, "weights": _pack(weights),
        "examples": _choose(model, examples) if examples else None,
        "centers": spec is data.MNIST, "opens": spec is None,
    }  # fmt: skip
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers.evaluation"), autoescape=True, trim_blocks=True
    )
    kind, count = about.get("name") or type(model).__name__, models.count_parameters(model)
    page = environment.get_template("explorer.html").render(
        content=content, kind=kind.rpartition(":")[2], parameters=count, notes=notes,
        dataset=spec.title if spec else notes.get("dataset"), today=datetime.date.today(),
        digest=notes.get("sha256") or models.weights_digest(model.state_dict()),
    ).encode()  # fmt: skip
    if len(page) > LARGEST_PAGE:
        raise ValueError(
            f"{kind} has {count:,} parameters: its page would have {len(page) / 1e3:.0f} kB; "
            f"the limit is {LARGEST_PAGE / 1e3:.0f} kB. Explore a smaller model, such as tiny_vgg."
        )
    write_atomic(Path(path), page)
    return Path(path)


def _choose(model: nn.Module, examples: Split) -> dict[str, Any]:
    """Up to two correctly predicted images and one error for each class; at most EXAMPLES bytes."""
    targets, predicted = examples.targets.cpu(), predict(model, examples).predicted
    right, rows = predicted == targets, []
    for wanted, number in ((right, 0), (right, 1), (~right, 0)):
        of_class = [(wanted & (targets == k)).nonzero()[:, 0] for k in targets.unique()]
        rows += [int(found[number]) for found in of_class if len(found) > number]
    rows = rows[: EXAMPLES // examples.images[0].numel()]
    return {
        "images": _pack([examples.images[rows]]), "rows": rows,
        "targets": targets[rows].tolist(), "predicted": predicted[rows].tolist(),
    }  # fmt: skip


def _pack(tensors: Sequence[Tensor]) -> str:
    """The concatenated values of all tensors, little-endian, as base64."""
    arrays = [tensor.detach().cpu().numpy() for tensor in tensors]
    content = b"".join(a.astype(a.dtype.newbyteorder("<")).tobytes() for a in arrays)
    return base64.b64encode(content).decode()


def _read_layers(model: nn.Module, shape: tuple[int, ...]) -> tuple[list[dict], list[Tensor]]:
    """Describe the layers in the order in which they run, and collect their weights.

    The input of each layer must be the output of the one before, which random images check.
    """
    images = torch.randint(256, (4, *shape), generator=torch.Generator().manual_seed(0)).byte()
    names = {layer: name for name, layer in model.named_modules() if not list(layer.children())}
    layers: list[dict[str, Any]] = []
    weights: list[Tensor] = []
    last = images.float()

    def check(given: Tensor, what: str) -> None:
        if not torch.equal(given.float().flatten(), last.flatten()):
            before = layers[-1]["name"] if layers else "the image"
            raise ValueError(
                f"The explorer cannot show {what}: between {before} and it, the model computes "
                "something that is not a layer, such as F.relu or a sum of two branches."
            )

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal last
        given = inputs[0] if inputs else torch.empty(0)
        what = f"{names[layer]} ({type(layer).__name__})"
        check(given, what)
        if given.ndim < last.ndim:  # flattened by a function
            layers.append({"name": "flatten", "kind": "flatten", "shape": list(given.shape[1:])})
        described, tensors = _describe(layer, given, what)
        if described:
            about = {"name": names[layer], "parameters": models.count_parameters(layer)}
            layers.append(about | described | {"shape": list(output.shape[1:])})
            weights.extend(tensors)
        last = output.float().clone()

    for layer in names:
        vars(layer)["inplace"] = False  # so that the hook sees the layer's input
    handles = [layer.register_forward_hook(record) for layer in names]
    with torch.inference_mode():
        try:
            check(model(images), "the logits")
        except RuntimeError as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"The model cannot process {shape} images: {reason}") from error
    for handle in handles:
        handle.remove()
    return layers, weights


def _describe(layer: nn.Module, given: Tensor, what: str) -> tuple[dict[str, Any], list[Tensor]]:
    """What the page needs to compute a layer, and its weights; {} if it changes nothing."""
    odd = [
        f"{name}={getattr(layer, name)}" for name, plain in _NEEDED.items()
        if getattr(layer, name, plain) not in (plain, (plain, plain))
    ]  # fmt: skip
    if odd:
        raise ValueError(f"The explorer cannot show {what} with {', '.join(odd)}.")
    kernel, stride = (_pair(getattr(layer, name, 0)) for name in ("kernel_size", "stride"))
    named: dict[object, tuple] = {"same": tuple((k - 1) // 2 for k in kernel), "valid": (0, 0)}
    padding = getattr(layer, "padding", 0)
    padding = named.get(padding) or _pair(padding)
    sizes = {"kernel": kernel, "stride": stride, "padding": padding}
    match layer:
        case models.Normalize():
            return {"kind": "normalize", "mean": layer.mean.item(), "std": layer.std.item()}, []
        case nn.Conv2d():
            return {"kind": "conv"} | sizes, _weights(layer)
        case nn.Linear() if given.ndim == 2:
            return {"kind": "linear"}, _weights(layer)
        case nn.BatchNorm1d() | nn.BatchNorm2d() if layer.track_running_stats:
            stored = dict(layer.named_buffers())
            scale = (stored["running_var"] + layer.eps) ** -0.5
            shift = -stored["running_mean"] * scale
            if layer.affine:
                scale, shift = scale * layer.weight, shift * layer.weight + layer.bias
            return {"kind": "scale"}, [scale, shift]
        case nn.MaxPool2d() | nn.AvgPool2d() if sizes["padding"] == (0, 0):
            return {"kind": "max" if isinstance(layer, nn.MaxPool2d) else "mean"} | sizes, []
        case nn.AdaptiveAvgPool2d() if _pair(layer.output_size) == (1, 1):
            return {"kind": "mean", "kernel": tuple(given.shape[2:]), "stride": (1, 1)}, []
        case nn.ReLU():
            return {"kind": "relu"}, []
        case nn.Flatten():
            return {"kind": "flatten"} if given.ndim == 4 else {}, []
        case nn.Identity() | nn.Dropout() | nn.Dropout2d():
            return {}, []
    raise ValueError(f"The explorer cannot show {what}. It shows {SUPPORTED}.")


def _pair(sizes: Any) -> tuple[Any, ...]:
    return (sizes, sizes) if isinstance(sizes, int) else tuple(sizes)


def _weights(layer: nn.Conv2d | nn.Linear) -> list[Tensor]:
    return [layer.weight, torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias]
