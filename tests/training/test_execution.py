"""Precision, memory layout and loss scaling; accelerators are mocked."""

import math
import platform
import subprocess
import sys
from collections import namedtuple
from functools import partial
from types import SimpleNamespace

import psutil
import pytest
import torch

from helpers import models, training
from helpers.training import Execution, execution
from helpers.training.execution import LoadCheck, ScaledOptimizer

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_bfloat16_is_only_for_processors_that_support_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert training.fastest_precision(CPU) == precision
    assert training.fastest_precision(torch.device("mps")) == "float32"


def test_torch_without_get_capabilities_gets_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert training.fastest_precision(CPU) == "float32"


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"'float8'.* float32, bfloat16, float16\."):
        Execution(precision="float8")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_have_the_given_precision_and_logits_are_float32(precision):
    model, seen = torch.nn.Linear(2, 2), []
    model.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    forward = training.make_forward(model, Execution(precision=precision))
    assert forward(torch.ones(1, 2, 1, 2).flatten(1)[:, None, None, :2]).dtype == torch.float32
    assert seen == [training.PRECISIONS[precision]]


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])


def test_an_apple_gpu_gets_no_float16_and_no_channels_last():
    with pytest.raises(ValueError, match="float16 is not supported on"):
        ScaledOptimizer(optimizer(), "float16", torch.device("mps"))

    class OnMps(torch.nn.Conv2d):
        """Reports the device "mps"; its weights are on the CPU."""

        def parameters(self, recurse=True):
            return iter([type("", (), {"device": torch.device("mps")})()])

    model = OnMps(8, 8, 3)
    training.make_forward(model, Execution(channels_last=True))
    assert not model.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("channels", "size", "stride", "groups", "is_last"),
    [
        (7, 1, 2, 1, False),  # where oneDNN with AVX2 writes into other memory
        (8, 1, 2, 1, True),
        (8, 1, 2, 2, False),
        (7, 1, 1, 1, True),
        (7, 3, 2, 1, True),
    ],
)
def test_a_convolution_that_breaks_oneDNN_disables_channels_last(
    channels, size, stride, groups, is_last
):
    regular = torch.nn.Conv2d(8, 8, 3)
    odd = torch.nn.Conv2d(channels, 16, size, stride, groups=groups)
    training.make_forward(torch.nn.ModuleList([regular, odd]), Execution(channels_last=True))
    assert regular.weight.is_contiguous(memory_format=torch.channels_last) is is_last


@pytest.mark.slow
def test_a_narrow_residual_network_learns():
    """In a new process, since a failure would kill it."""
    code = """if True:
        import torch
        from helpers import models, training
        model = models.build("resnet", width=2)
        forward = training.make_forward(model, training.Execution(channels_last=True))
        for _ in range(100):
            forward(torch.ones(64, 1, 28, 28, dtype=torch.uint8)).sum().backward()
    """
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("precision", "scaled"), [("float32", False), ("float16", True)])
def test_gradients_are_scaled_only_in_float16(precision, scaled):
    scaler = ScaledOptimizer(optimizer(), precision, CPU).scaler
    assert scaler.is_enabled() is scaled


def test_the_scale_starts_between_256_and_4096():
    """Not at torch's 65,536, which is usually too much."""
    assert 2**8 <= ScaledOptimizer(optimizer(), "float16", CPU).scaler.get_scale() <= 2**12


@pytest.fixture
def deterministic():
    """Uninitialized memory holds nan."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("fused", [False, True])
def test_a_first_step_that_is_skipped_changes_nothing(fused, deterministic):
    """After infinite gradients, torch's fused SGD would use an uninitialized momentum."""
    steps = {}
    for name, gradients in {"scaled": [math.inf, 0.25, 0.5], "plain": [0.25, 0.5]}.items():
        weights = torch.nn.Parameter(torch.ones(5))
        sgd = torch.optim.SGD([weights], 0.1, momentum=0.9, nesterov=True, fused=fused)
        scaled = ScaledOptimizer(sgd, "float16" if name == "scaled" else "float32", CPU)
        for gradient in gradients:
            scaled.zero_grad()
            weights.grad = scaled.scaler.scale(torch.full((5,), gradient))
            scaled.step()
        steps[name] = weights.detach()
    assert torch.equal(steps["scaled"], steps["plain"])


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5),
        partial(torch.optim.SGD, lr=0.1),
        partial(torch.optim.AdamW, lr=0.1),
    ],
)
def test_float16_leaves_other_optimizers_as_they_are(make):
    after = []
    for precision in ("float16", "float32"):
        weights = torch.nn.Parameter(torch.ones(5))
        scaled = ScaledOptimizer(make([weights]), precision, CPU)
        for gradient in (0.25, 0.5):
            weights.grad = scaled.scaler.scale(torch.full((5,), gradient))
            scaled.step()
        after.append([weights.detach(), scaled.optimizer.state[weights].get("momentum_buffer")])
    torch.testing.assert_close(*after, rtol=0, atol=0)


@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
def test_gradients_are_multiplied_by_the_weight_of_the_process(weight):
    group = SimpleNamespace(wrap_ddp=lambda model: model, gradient_weight=weight)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
    images = torch.rand(4, 1, 1, 3)
    forward = training.make_forward(model, Execution(process_group=group))
    model(images).sum().backward()
    alone = model[1].weight.grad.clone()
    model.zero_grad()
    forward(images).sum().backward()
    torch.testing.assert_close(model[1].weight.grad, weight * alone)
    with torch.no_grad():
        assert forward(images).shape == (4, 2)


def test_only_the_first_process_shows_a_bar():
    for rank, shown in ((0, True), (1, False)):
        group = SimpleNamespace(rank=rank)
        with Execution(progress=True, process_group=group).progress_bar(10) as bar:
            assert bar.disable is not shown


def test_momentum_in_float16_has_the_memory_layout_of_the_weights(tiny):
    """On CUDA, torch's fused SGD refuses any other."""
    model = models.build("fast_cnn", width=8, mean=0.5, std=0.5)
    sgd = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)
    how = Execution(precision="float16", channels_last=True, progress=False)
    training.fit(model, sgd, tiny, epochs=1, execution=how)
    kernels = [weights for weights in model.parameters() if weights.dim() == 4]
    assert any(weights.is_contiguous(memory_format=torch.channels_last) for weights in kernels)
    for weights in kernels:
        assert sgd.state[weights]["momentum_buffer"].stride() == weights.stride()


def test_by_default_a_model_runs_unchanged(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    model = torch.nn.Conv2d(8, 8, 3)
    images = torch.rand(2, 8, 5, 5)
    assert torch.equal(training.make_forward(model)(images), model(images))
    assert not model.weight.is_contiguous(memory_format=torch.channels_last)


FREED = """
import psutil
import torch
from helpers import models, training

if {trained}:
    training.make_forward(models.build("linear"))
tensors = [torch.ones(2**21) for _ in range(20)]  # of 8 MB
full = psutil.Process().memory_info().rss
del tensors
print((full - psutil.Process().memory_info().rss) / 1e6)
"""


@pytest.mark.medium
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have no mallopt")
@pytest.mark.parametrize(("trained", "low", "high"), [(False, 100, 200), (True, -1, 10)])
def test_freed_memory_is_kept_only_once_a_training_is_set_up(trained, low, high):
    command = [sys.executable, "-c", FREED.format(trained=trained)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert low < float(done.stdout) < high


@pytest.mark.parametrize("library", [SimpleNamespace(), SimpleNamespace(mallopt=lambda *_: 0)])
def test_a_c_library_without_a_working_mallopt_is_accepted(monkeypatch, library):
    monkeypatch.setattr(execution.ctypes, "CDLL", lambda name: library)
    model, images = torch.nn.Conv2d(1, 2, 1), torch.rand(3, 1, 4, 4)
    assert torch.equal(training.make_forward(model)(images), model(images))


def test_the_forward_pass_also_runs_without_gradients():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, 2))
    scaler = ScaledOptimizer(optimizer(), "float32", CPU).scaler
    forward = training.make_forward(model, scaler=scaler)
    with torch.no_grad():
        assert forward(torch.rand(4, 1, 1, 3)).shape == (4, 2)


@pytest.mark.parametrize(("others", "threads", "processes", "expected"), [
    (1.6, 2, 1, "slow: other programs use 1.6 of 2 cores; OMP_NUM_THREADS=1 may help"),
    (1.6, 1, 1, "slow: other programs use 1.6 of 2 cores"),
    (0.5, 2, 1, None),
    (1.6, 2, 2, None),  # the other process of torchrun does not count as another program
    (1.9, 1, 2, "slow: other programs use 0.9 of 2 cores"),
])  # fmt: skip
def test_a_bar_warns_once_when_other_programs_use_the_cores(
    monkeypatch, others, threads, processes, expected
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    times = namedtuple("times", ["user", "system", "idle", "iowait"])
    clock = SimpleNamespace(now=100.0)

    def used(now: float) -> times:  # our own process uses one core
        return times(user=(others + 1) * now, system=7.0, idle=5 * now, iowait=now)

    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(psutil, "cpu_times", lambda: used(clock.now))
    monkeypatch.setattr(execution.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(execution.time, "process_time", lambda: clock.now)
    shown = []
    bar = SimpleNamespace(set_postfix_str=shown.append)
    check = LoadCheck(threads)
    clock.now = 104.0
    check.report(bar)
    assert shown == []  # too early
    for clock.now in (106.0, 120.0):
        check.report(bar)
    assert shown == ([expected] if expected else [])
