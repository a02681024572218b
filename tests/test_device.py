"""Accelerators that are not here are mocked; what runs on them is tested on the CPU elsewhere."""

import os
import random

import numpy as np
import pytest
import torch

from helpers import device, training

CPU = torch.device("cpu")


@pytest.fixture
def with_two_gpus(monkeypatch):
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda")
    )
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def without_accelerator(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)

    def no_driver() -> int:  # what torch 2.7 built for CUDA says
        raise RuntimeError("Found no NVIDIA driver on your system.")

    monkeypatch.setattr(torch.accelerator, "device_count", no_driver)


def test_auto_takes_the_accelerator_if_there_is_one(with_two_gpus):
    assert device.choose() == torch.device("cuda")
    assert [d.type for d in device.available()] == ["cpu", "cuda"]


def test_auto_falls_back_to_the_cpu(without_accelerator):
    assert device.choose() == CPU
    assert device.available() == [CPU]


def test_a_device_can_be_named(with_two_gpus):
    assert device.choose("cpu") == CPU
    assert device.choose("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["cuda:2", "mps", "tpu9", ""])
def test_a_device_that_is_not_there_is_refused(with_two_gpus, name):
    with pytest.raises(ValueError, match=f"There is no device '{name}'.*auto, cpu, cuda"):
        device.choose(name)


def test_there_is_one_cpu(without_accelerator):
    assert device.choose("cpu:0").type == "cpu"
    with pytest.raises(ValueError, match="There is no device 'cpu:1'"):
        device.choose("cpu:1")


def test_the_second_of_one_gpu_is_refused(with_two_gpus, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert device.choose("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="There is no device 'cuda:1'"):
        device.choose("cuda:1")


def test_no_gpu_is_refused_by_name(without_accelerator):
    with pytest.raises(ValueError, match=r"'cuda'.*auto, cpu\."):
        device.choose("cuda")


def test_the_seed_decides_all_three_generators():
    def draw() -> tuple[float, float, float]:
        device.seed_everything(7)
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    assert draw() == draw()


def test_autocast_changes_the_precision_of_products_only_when_asked():
    matrix = torch.ones(2, 2)
    with training.autocast(CPU, "float32"):
        assert (matrix @ matrix).dtype == torch.float32
    with training.autocast(CPU, "bfloat16"):
        assert (matrix @ matrix).dtype == torch.bfloat16
    with pytest.raises(ValueError, match=r"'float8'.* float32, bfloat16, float16\."):
        training.autocast(CPU, "float8")


def test_the_cpu_is_described_with_its_threads():
    assert device.describe(CPU) == f"cpu, {os.uname().machine}, {torch.get_num_threads()} threads"


def test_a_gpu_is_described_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device.describe(torch.device("cuda:1")) == "cuda, GPU 1"
    assert device.describe(torch.device("mps")) == "mps"


@pytest.mark.parametrize(
    ("environment", "terminal", "watched"),
    [
        (
            {"JPY_SESSION_NAME": "a.ipynb", "JPY_PARENT_PID": "1"},
            False,
            True,
        ),  # a person's notebook
        ({"JPY_PARENT_PID": "1"}, True, False),  # papermill, started from a terminal
        ({}, True, True),
        ({}, False, False),  # a log file
    ],
)
def test_who_watches(monkeypatch, environment, terminal, watched):
    for name in ("JPY_SESSION_NAME", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "isatty", lambda handle: terminal and handle == 2)
    assert device.is_interactive() is watched


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_bfloat16_is_for_processors_that_have_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert training.fastest_precision(CPU) == precision
    assert training.fastest_precision(torch.device("mps")) == "float32"


def test_a_torch_that_cannot_tell_gets_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert training.fastest_precision(CPU) == "float32"


def test_what_is_wrong_on_an_apple_gpu_is_not_done_there(monkeypatch):
    with pytest.raises(ValueError, match="float16 cannot be trained on"):
        training.gradient_scaler(torch.device("mps"), "float16")
    assert not training.gradient_scaler(torch.device("mps"), "float32").is_enabled()

    class OnMps(torch.nn.Conv2d):
        """Says that it is there; its weights are on the CPU."""

        def parameters(self, recurse=True):
            return iter([type("", (), {"device": torch.device("mps")})()])

    model = OnMps(8, 8, 3)
    training.make_forward(model, channels_last=True)
    assert not model.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("precision", "idle"), [("float32", True), ("float16", False)])
def test_only_float16_has_its_gradients_scaled(precision, idle):
    assert training.gradient_scaler(CPU, precision).is_enabled() is not idle


def test_scales_start_where_they_can_grow():
    """Not at torch's 65,536, from which they mostly have to shrink."""
    assert 2**8 <= training.gradient_scaler(CPU, "float16").get_scale() <= 2**12


def test_a_model_runs_as_it_is_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    model = torch.nn.Conv2d(8, 8, 3)
    images = torch.rand(2, 8, 5, 5)
    expected = model(images)
    assert torch.equal(training.make_forward(model)(images), expected)
    assert not model.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_idle_scaler_asks_for_no_gradients():
    model = torch.nn.Linear(3, 2)
    forward = training.make_forward(
        torch.nn.Sequential(torch.nn.Flatten(), model),
        scaler=training.gradient_scaler(CPU, "float32"),
    )
    with torch.no_grad():
        assert forward(torch.rand(4, 1, 1, 3)).shape == (4, 2)
