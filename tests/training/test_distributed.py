"""Several processes train the same model as a single one."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from helpers import evaluation, models, training
from helpers.files import PROJECT
from helpers.training import SINGLE_PROCESS, distributed
from tests.training import train_in_processes

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
# the loopback device: no test needs a network
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": LOOPBACK}


def torchrun(processes: int, *arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*TORCHRUN, f"--nproc-per-node={processes}", *arguments],
        cwd=PROJECT, env=ENVIRONMENT, capture_output=True, text=True, **options,
    )  # fmt: skip


def test_a_single_process_changes_nothing():
    model = torch.nn.Linear(2, 2)
    batches = [(torch.ones(2, 1), torch.ones(2))]
    stats = (torch.ones(1), torch.ones(1), torch.ones(1))
    assert SINGLE_PROCESS.wrap_ddp(model) is model
    assert list(SINGLE_PROCESS.shard_batches(batches)) == batches
    assert SINGLE_PROCESS.all_reduce_stats(*stats) == stats
    assert (SINGLE_PROCESS.rank, SINGLE_PROCESS.size) == (0, 1)
    with training.join_process_group("cpu") as (group, device):
        assert group is SINGLE_PROCESS
        assert device == torch.device("cpu")


def test_gpus_use_nccl_and_counts_on_the_cpu_use_gloo(monkeypatch):
    backends = []
    monkeypatch.setattr(distributed.dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(distributed.dist, "init_process_group", lambda b, **_: backends.append(b))
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(distributed, "ProcessGroup", lambda: None)
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda index: None)
    for device in (torch.device("cpu"), torch.device("cuda", 1)):
        monkeypatch.setattr(distributed, "_device_of_rank", lambda *_, device=device: device)
        with training.join_process_group("cpu") as (_, chosen):
            assert chosen == device
    assert backends == ["cpu:gloo", "cpu:gloo,cuda:nccl"]


@pytest.mark.parametrize(
    ("name", "device", "ranks", "own"),
    [
        ("auto", "cuda", 2, "cuda:1"),
        ("cuda", "cuda", 2, "cuda:1"),
        ("cuda:0", "cuda:0", 1, "cuda:0"),
        ("auto", "mps", 2, "cpu"),
        ("cpu", "cpu", 9, "cpu"),
        ("cuda:0", "cuda:0", 2, None),  # two ranks would share it
        ("auto", "cuda", 3, None),
        ("mps", "mps", 2, None),
        ("mps", "mps", 1, None),
        ("auto", "xpu", 2, "xpu:1"),
    ],
)
def test_each_rank_has_a_device_of_its_own(monkeypatch, name, device, ranks, own):
    """Two GPUs are simulated: only their number is used."""
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", str(min(ranks, 2) - 1))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    if own is None:
        with pytest.raises(ValueError, match=rf"^{ranks} processes need one .* --device cpu"):
            distributed._device_of_rank(torch.device(device), name)
    else:
        assert distributed._device_of_rank(torch.device(device), name) == torch.device(own)


@pytest.fixture
def rank_of_two(monkeypatch):
    """Make a rank of two; `all_reduce` adds the tensors of the other rank."""

    def make(rank: int, others: list[torch.Tensor]) -> distributed.ProcessGroup:
        def all_reduce(tensor, op=dist.ReduceOp.SUM):
            other = others.pop(0).to(tensor.dtype)
            tensor.copy_(
                torch.maximum(tensor, other) if op == dist.ReduceOp.MAX else tensor + other
            )

        monkeypatch.setattr(dist, "get_rank", lambda: rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        monkeypatch.setattr(dist, "all_reduce", all_reduce)
        return distributed.ProcessGroup()

    return make


@pytest.mark.parametrize(("rank", "rows", "weight"), [(0, [0, 2, 4], 1.2), (1, [1, 3], 0.8)])
def test_the_rows_of_a_batch_are_sharded_and_weighted(rank_of_two, rank, rows, weight):
    """The mean over ranks of weighted means is the total mean: (1.2 / 3) / 2 = 1 / 5 for a row."""
    group = rank_of_two(rank, [])
    five, two, one = ((torch.arange(n) + 10, torch.arange(n)) for n in (5, 2, 1))
    shares = group.shard_batches([five, two, one])
    images, targets = next(shares)
    assert (targets.tolist(), images.tolist()) == (rows, [10 + row for row in rows])
    assert group.gradient_weight == pytest.approx(weight)
    assert next(shares)[1].tolist() == [rank]
    assert group.gradient_weight == 1
    with pytest.raises(ValueError, match=r"has 1 images for 2 processes. Choose another batch"):
        next(shares)


def test_losses_are_weighted_by_images_and_counts_added(rank_of_two):
    other = torch.tensor([[6.0, 0.0], [3.0, 1.0], [2.0, 1.0]])  # sums of losses, correct, images
    group = rank_of_two(0, [other])
    own = torch.tensor([2.0, 1.0]), torch.tensor([1, 0]), torch.tensor([4, 1])
    losses, correct, images = group.all_reduce_stats(*own)
    assert losses.tolist() == pytest.approx([(2 * 4 + 6) / 6, (1 + 0) / 2])
    assert (correct.tolist(), images.tolist()) == ([4, 1], [6, 2])
    assert (losses.dtype, correct.dtype, images.dtype) == (torch.float32, torch.int64, torch.int64)


def test_each_rank_predicts_its_rows_and_gets_all_logits(rank_of_two):
    model, split = models.build("linear"), train_in_processes.images(5)
    expected = evaluation.predict(model, split)
    other = expected.logits.clone()
    other[1::2] = 0
    group = rank_of_two(1, [other])
    calls = []
    model.register_forward_pre_hook(lambda _, images: calls.append(images[0]))
    predictions = group.predict(model, split)
    assert torch.equal(torch.cat(calls), split.images[1::2])
    torch.testing.assert_close(predictions.logits, expected.logits)
    assert torch.equal(predictions.targets, split.targets)
    calls.clear()  # one image is too few for two ranks, two are enough
    torch.testing.assert_close(group.predict(model, split[:1]).logits, expected.logits[:1])
    rank_of_two(1, [torch.zeros(2, 10)]).predict(model, split[:2])
    assert [len(images) for images in calls] == [1, 1]


def test_maximum_and_check_same_start_compare_all_ranks(rank_of_two):
    assert rank_of_two(0, [torch.tensor(9)]).maximum(7) == 9
    assert rank_of_two(0, [torch.tensor(5)]).maximum(7) == 7
    rank_of_two(0, [torch.tensor(5), torch.tensor(-5)]).check_same_start(5)
    with pytest.raises(
        ValueError, match=r"after 6 images, others after 5: .* Choose one .* --root"
    ):
        rank_of_two(0, [torch.tensor(5), torch.tensor(-5)]).check_same_start(6)


def test_batch_norm_is_synchronized_on_gpus_only(rank_of_two, monkeypatch):
    class Wrapped(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.module = model

    monkeypatch.setattr(distributed, "DistributedDataParallel", Wrapped)
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    group = rank_of_two(0, [])
    assert isinstance(group.wrap_ddp(model).module[0], torch.nn.BatchNorm1d)
    on_gpu = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(model, "parameters", lambda: iter([on_gpu]))
    assert isinstance(group.wrap_ddp(model).module[0], torch.nn.SyncBatchNorm)


def test_each_restart_has_its_own_prefix_in_the_torchrun_store(monkeypatch):
    """A restart does not find the values stored before it."""
    assert distributed._own_store() == {}
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    torchrun_settings = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": store.port,
        "RANK": 2,
        "WORLD_SIZE": 3,
    }
    torchrun_settings |= {"TORCHELASTIC_USE_AGENT_STORE": True}
    parts = []
    for restart in (0, 1):
        for name, value in {**torchrun_settings, "TORCHELASTIC_RESTART_COUNT": restart}.items():
            monkeypatch.setenv(name, str(value))
        own = distributed._own_store()
        parts.append(own.pop("store"))
        assert own == {"rank": 2, "world_size": 3}
    parts[0].set("address", "before")
    assert parts[0].get("address") == b"before"
    assert not parts[1].check(["address"])
    assert store.check(["restart 0/address"])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, pytest.param(4, marks=pytest.mark.long)])
def test_several_processes_train_like_one(processes, tmp_path):
    """To 1e-6 after an epoch, in weights and records, with an uneven last batch.

    For networks without batch normalization, which on CPUs uses the shard of each process.
    """
    done = torchrun(processes, "-m", "tests.training.train_in_processes", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    for kind in train_in_processes.KINDS:
        model, epochs = train_in_processes.train(kind)
        expected = model.state_dict()
        for rank in range(processes):
            kept = torch.load(tmp_path / f"{kind}-{rank}-of-{processes}.pt")
            for name, weights in kept["weights"].items():
                torch.testing.assert_close(weights, expected[name], rtol=0, atol=1e-6)
            ((loss, accuracy, validation),) = kept["epochs"]
            assert loss == pytest.approx(epochs[0].train_loss, abs=1e-6)
            assert accuracy == epochs[0].train_accuracy
            assert validation == pytest.approx(epochs[0].validation_loss, rel=1e-5)
            torch.testing.assert_close(kept["logits"], kept["expected"], rtol=1e-6, atol=1e-6)
            assert kept["few"].shape == (1, 10)


@pytest.mark.slow
def test_different_epochs_and_too_small_batches_are_refused(tmp_path):
    """Resume after different images; shard a batch of one image, the last of 70 in 23s."""
    script = (
        "from helpers import training; from tests.training import train_in_processes\n"
        "with training.join_process_group('cpu') as (group, _):\n"
        "    group.check_same_start(5)\n"
        "    try:\n"
        "        group.check_same_start(5 + group.rank)\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
        "    train_in_processes.train('tiny_vgg', group, batch_size=23)\n"
    )
    (tmp_path / "few.py").write_text(script)
    done = subprocess.run(
        [*TORCHRUN, "--nproc-per-node=2", str(tmp_path / "few.py")],
        cwd=PROJECT, env=ENVIRONMENT | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stdout.count("after 6 images, others after 5: they do not see the same folder") == 2
    assert "has 1 images for 2 processes. Choose another batch size" in done.stderr


TRAIN = ("-m", "helpers", "train", "mnist", "--recipe", "fast", "--device", "cpu")


@pytest.mark.slow
def test_the_command_trains_under_torchrun_and_one_process_writes(tmp_path):
    done = torchrun(2, *TRAIN[:-3], "sprint", "--device", "cpu", "--root", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sprint on MNIST, 2 × cpu") == 1
    assert done.stdout.count("test accuracy") == 1
    (record,) = tmp_path.rglob("result.json")
    result = json.loads(record.read_text())
    assert result["parameters"]["processes"] == 2
    assert result["measured"]["test_accuracy"] > 0.97
    models.load(record.parent / "weights.safetensors", dataset="mnist")
    assert not list(tmp_path.glob("unfinished-*"))


@pytest.mark.slow
def test_ranks_killed_three_times_restart_and_end_like_uninterrupted_ones(tmp_path):
    """SIGKILL within the epoch: the same bits as two uninterrupted ranks, and the weights of one
    process to 1e-6. Each restart succeeds: the ranks do not use earlier addresses.
    """
    ended = {}
    for how in ("dies", "lives"):
        (tmp_path / how).mkdir()
        script = ("-m", "tests.training.train_in_processes", str(tmp_path / how), how)
        done = torchrun(2, "--max-restarts=3", *script)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / how).glob("found-*-0"))) == (4 if how == "dies" else 1)
        ended[how] = [torch.load(tmp_path / how / f"ended-{rank}.pt") for rank in range(2)]
    for restart, (_, step) in enumerate(train_in_processes.KILLS, start=1):
        found = (tmp_path / "dies" / f"found-{restart}-0").read_text()
        saved = int(found.removeprefix("epoch-0000-step-")[:6])
        assert saved in (step - 1, step)  # rank 0 may not have saved the last step
    model, epochs = train_in_processes.train("tiny_vgg")
    for one, other in zip(ended["dies"], ended["lives"], strict=True):
        assert one["loss"] == other["loss"] == pytest.approx(epochs[0].train_loss, abs=1e-6)
        for name, weights in model.state_dict().items():
            assert torch.equal(one["weights"][name], other["weights"][name])
            torch.testing.assert_close(one["weights"][name], weights, rtol=0, atol=1e-6)


SIGNALLED = """
import os, signal, sys
from helpers import data
from helpers.headless.cli import app
batches = data.batches

def signalling(*arguments, **options):
    for number, batch in enumerate(batches(*arguments, **options), start=1):
        if number == 20 and os.environ.get("RANK", "1") == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch

data.batches = signalling
app(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_saves_a_training_and_one_process_resumes_it(tmp_path, processes):
    """SIGTERM in the 20th batch, to one rank only."""
    (tmp_path / "signalled.py").write_text(SIGNALLED)
    start = [sys.executable] if processes == 1 else [*TORCHRUN, f"--nproc-per-node={processes}"]
    train = ["train", "mnist", "--recipe", "sprint", "--device", "cpu", "--root", str(tmp_path)]
    options = dict(cwd=PROJECT, capture_output=True, text=True)
    stopped = subprocess.run(
        [*start, str(tmp_path / "signalled.py"), *train],
        env=ENVIRONMENT | {"PYTHONPATH": str(PROJECT)}, **options,
    )  # fmt: skip
    assert stopped.returncode == (128 + signal.SIGTERM if processes == 1 else 1), stopped.stderr
    assert stopped.stderr.count("The same command resumes") == 1
    assert len(list(tmp_path.glob("unfinished-*/epoch-0000-step-000020-*.pt"))) == 1
    resumed = subprocess.run([sys.executable, "-m", "helpers", *train], env=ENVIRONMENT, **options)
    assert resumed.returncode == 0, resumed.stderr
    assert not list(tmp_path.glob("unfinished-*"))
    (record,) = tmp_path.rglob("result.json")
    assert json.loads(record.read_text())["measured"]["test_accuracy"] > 0.97
