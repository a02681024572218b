"""Accelerators are mocked here; code for them is tested on the CPU in other files."""

import platform
import random

import numpy as np
import pytest
import torch

from helpers import device

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

    def no_driver() -> int:  # the error of torch 2.7 built for CUDA
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


def test_a_second_cpu_is_refused(without_accelerator):
    assert device.choose("cpu:0").type == "cpu"
    with pytest.raises(ValueError, match="There is no device 'cpu:1'"):
        device.choose("cpu:1")


def test_cuda_1_is_refused_if_there_is_one_gpu(with_two_gpus, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert device.choose("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="There is no device 'cuda:1'"):
        device.choose("cuda:1")


def test_cuda_without_a_gpu_is_refused(without_accelerator):
    with pytest.raises(ValueError, match=r"'cuda'.*auto, cpu\."):
        device.choose("cuda")


def test_the_seed_decides_all_three_generators():
    def draw(seed: int) -> tuple[float, float, float]:
        device.seed_everything(seed)
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    assert draw(7) == draw(7)
    assert all(a != b for a, b in zip(draw(7), draw(8), strict=True))


def test_the_cpu_is_described_with_its_threads():
    assert device.describe(CPU) == f"cpu, {platform.machine()}, {torch.get_num_threads()} threads"


def test_a_gpu_is_described_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device.describe(torch.device("cuda:1")) == "cuda, GPU 1"
    assert device.describe(torch.device("mps")) == "mps"
