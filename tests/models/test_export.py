"""Exported files have the logits of the model; invalid calls and mismatches leave no file."""

import json
import re
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from helpers import models
from helpers.files import PROJECT

NOTES = {"dataset": "mine", "test_accuracy": 0.5}
NAMES = ("cat", "dog", "cow")


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build("fast_cnn", width=4, num_classes=3, mean=0.3, std=0.4)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (7, 1, 28, 28), dtype=torch.uint8)


def logits_of(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(images)


def test_onnx_takes_batches_of_any_size_and_has_the_metadata(model, images, tmp_path):
    path = tmp_path / "new" / "m.onnx"
    difference = models.export(model.train(), path, "onnx", class_names=NAMES, notes=NOTES)
    assert 0 < difference < 1e-4
    assert model.training
    session = onnxruntime.InferenceSession(path)
    for count in (1, 7):
        (found,) = session.run(["logits"], {"images": images[:count].numpy()})
        assert np.allclose(found, logits_of(model, images[:count]), atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == list(NAMES)
    assert (about["dataset"], about["test_accuracy"]) == ("mine", "0.5")
    onnx.checker.check_model(path, full_check=True)
    assert str(PROJECT).encode() not in path.read_bytes()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_loaded_by_torch_alone(model, images, tmp_path):
    path = tmp_path / "m.pt"
    assert models.export(model, path, "torchscript", class_names=NAMES, notes=NOTES) < 1e-4
    extra = {"notes.json": ""}
    loaded = torch.jit.load(path, _extra_files=extra)
    assert torch.allclose(loaded(images), logits_of(model, images), atol=1e-4)
    assert json.loads(extra["notes.json"]) == {**NOTES, "class_names": list(NAMES)}
    with zipfile.ZipFile(path) as entries:
        assert not any(str(PROJECT).encode() in entries.read(name) for name in entries.namelist())


def test_safetensors_are_loaded_by_the_course(model, images, tmp_path):
    path = tmp_path / "m.safetensors"
    assert models.export(model, path, "safetensors", class_names=NAMES, notes=NOTES) == 0
    assert torch.equal(logits_of(models.load(path), images), logits_of(model, images))
    assert models.read_metadata(path)["notes"] == {**NOTES, "class_names": list(NAMES)}


@pytest.mark.parametrize(
    ("notes", "names"),
    [
        ({}, list("0123456789")),
        ({"class_names": list("abcdefghij")}, list("abcdefghij")),
        ({"dataset": "fashion_mnist"}, ["T-shirt/top", "Trouser"]),
    ],
)
def test_class_names_come_from_the_notes_or_the_data_set(tmp_path, notes, names):
    path = tmp_path / "m.safetensors"
    models.export(models.build("linear"), path, "safetensors", notes=notes)
    assert models.read_metadata(path)["notes"]["class_names"][: len(names)] == names


def test_a_compiled_model_is_exported_like_the_model_inside(model, tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for made, path in zip((model, torch.compile(model)), paths, strict=True):
        models.export(made, path, "safetensors")
    assert paths[0].read_bytes() == paths[1].read_bytes()


class Color(torch.nn.Module):
    """A network that `models.build` does not have, for color images of 8 × 8."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * 8 * 8, 10)
        self.architecture = {"name": "color", "channels": 3, "size": 8}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.float().flatten(1) / 255)


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_models_of_other_sizes_are_exported(tmp_path, format):
    assert models.export(Color(), tmp_path / "m", format, notes={"dataset": "mnist"}) < 1e-4


class DataDependent(Color):
    """The logits depend on the number of images: a trace records only one branch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits if len(images) < 3 else logits + 1


def test_an_exported_file_with_different_logits_is_deleted(tmp_path):
    with pytest.raises(ValueError, match=r"torchscript file's logits differ by 1\.0e\+00"):
        models.export(DataDependent(), tmp_path / "m.pt", "torchscript")
    assert list(tmp_path.iterdir()) == []


class WithEigenvalues(Color):
    """ONNX has no operation for eigenvalues."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) + torch.linalg.eigvals(images[:, 0].float()).real.sum()


def test_a_model_that_torch_cannot_export_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="torch cannot export this model to ONNX: ") as caught:
        models.export(WithEigenvalues(), tmp_path / "m.onnx", "onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "names", "message"),
    [
        ("onxx", NAMES, "no format 'onxx'. Did you mean 'onnx'?"),
        ("onnx", NAMES[:2], r"Got 2 class names, \['cat', 'dog'\], for 3 classes."),
    ],
)
def test_wrong_arguments_leave_the_file_unchanged(model, tmp_path, format, names, message):
    path = tmp_path / "m"
    path.write_text("before")
    with pytest.raises(ValueError, match=message):
        models.export(model, path, format, class_names=names)
    assert path.read_text() == "before"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_what_to_install(model, tmp_path, monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript onnxruntime"):
        models.export(model, tmp_path / "m.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_example_on_the_page_reads_a_digit_without_this_package(tmp_path):
    page = (PROJECT / "docs" / "export.md").read_text(encoding="utf-8")
    make, use = re.findall(r"```python\n(.+?)```", page, flags=re.DOTALL)
    seven = np.zeros((28, 28), np.uint8)
    seven[6:9, 8:20] = 255
    for row in range(9, 23):
        seven[row, 18 - (row - 9) // 2 : 21 - (row - 9) // 2] = 255
    Image.fromarray(seven).save(tmp_path / "digit.png")
    assert "helpers" not in use
    assert len(use.splitlines()) <= 12
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )
        for code in (make, use)
    ]  # fmt: skip
    assert re.fullmatch(r"7, probability \d\d\.\d%\n", outputs[1].stdout)
    assert [outputs[0].stdout, outputs[0].stderr, outputs[1].stderr] == ["", "", ""]
