"""Export a model to a file for other programs. The file is kept only if its logits are the same."""

import copy
import io
import json
import tempfile
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from helpers import data
from helpers.files import write_atomic
from helpers.messages import check_name
from helpers.models import checkpoints
from helpers.models.networks import MODELS

FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
MAX_DIFFERENCE = 1e-4  # of logits; relative to the largest one if that is above 1


def export(
    model: nn.Module, path: Path | str, format: str, *,
    class_names: Sequence[str] = (), notes: Mapping[str, Any] = MappingProxyType({}),
) -> float:  # fmt: skip
    """Write `model` to `path` in a `format` of FORMATS, if the exported file has the same logits.

    The file takes uint8 images (N, C, S, S), N ≥ 1, and returns float32 logits (N, K). Its metadata
    hold `notes` and the class names: `class_names`, or those in `notes`, or of the data set in
    `notes`, or numbers. Logits are compared on 1,000 test images of that data set, or random ones.
    Returns the largest difference. Raises ValueError if it is above MAX_DIFFERENCE, the number of
    names is wrong, or ONNX export fails; RuntimeError if tracing fails; ImportError without onnx.
    """
    check_name("format", format, FORMATS)
    model = copy.deepcopy(getattr(model, "_orig_mod", model)).cpu().eval().requires_grad_(False)
    spec = data.SPECS.get(notes.get("dataset", ""))
    images = _check_images(model, spec)
    logits = model(images)
    names = list(class_names or notes.get("class_names") or (spec.class_names if spec else ()))
    names = names or [str(k) for k in range(logits.shape[1])]
    if len(names) != logits.shape[1]:
        raise ValueError(f"Got {len(names)} class names, {names}, for {logits.shape[1]} classes.")
    try_out = {"onnx": _onnx, "torchscript": _torchscript, "safetensors": _safetensors}[format]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        file = Path(folder) / "model"
        found = try_out(model, images, file, {**notes, "class_names": names})
        difference = (found - logits).abs().max().item()
        if not difference <= MAX_DIFFERENCE * max(1.0, logits.abs().max().item()):  # also for nan
            raise ValueError(f"The {format} file's logits differ by {difference:.1e}; not saved.")
        write_atomic(Path(path), file.read_bytes())
    return difference


def _check_images(model: nn.Module, spec: data.DatasetSpec | None) -> Tensor:
    """1,000 images uint8 (N, C, S, S) with the channels and size that the model takes."""
    architecture = getattr(model, "architecture", {})
    channels, size = architecture.get("channels", 1), architecture.get("size", 28)
    if spec and (channels, size) == (1, 28):
        return data.load_splits(spec.name).test.images[:1_000]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (1_000, channels, size, size), generator=generator).byte()


def _onnx(model: nn.Module, images: Tensor, file: Path, notes: dict[str, object]) -> Tensor:
    try:
        import onnx
        import onnxruntime

        program = torch.onnx.export(
            model, (images[:2],), dynamo=True, verbose=False, input_names=["images"],
            output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    except ImportError as error:  # torch itself imports onnxscript
        raise ImportError(f"Please pip install onnx onnxscript onnxruntime: {error}") from error
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise ValueError(f"torch cannot export this model to ONNX: {reason}") from error
    proto = program.model_proto  # type: ignore[union-attr]
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # stack traces, with paths of this machine
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in notes.items()}
    onnx.helper.set_model_props(proto, texts)
    file.write_bytes(proto.SerializeToString())
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _torchscript(model: nn.Module, images: Tensor, file: Path, notes: dict[str, object]) -> Tensor:
    buffer, extra = io.BytesIO(), {"notes.json": json.dumps(notes)}
    torch.jit.save(torch.jit.trace(model, images[:2]), buffer, _extra_files=extra)
    with zipfile.ZipFile(buffer) as traced, zipfile.ZipFile(file, "w") as cleaned:
        for entry in traced.infolist():
            if not entry.filename.endswith(".debug_pkl"):  # stack traces as well
                cleaned.writestr(entry, traced.read(entry))
    return torch.jit.load(file, map_location="cpu")(images)


def _safetensors(model: nn.Module, images: Tensor, file: Path, notes: dict[str, object]) -> Tensor:
    name = getattr(model, "architecture", {}).get("name")
    into = None if name in MODELS else copy.deepcopy(model)  # for others, `load` needs a model
    return checkpoints.load(checkpoints.save(model, file, **notes), into=into)(images).detach()
