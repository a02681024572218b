"""Check and measure training on a GPU: one command, and a file for each part.

    make gpu                                                # at most eight minutes, on one GPU
    python -m benchmarks.gpu --out FOLDER --only parity     # one part
    python -m benchmarks.gpu --out FOLDER --dry-run         # each part on the CPU, at toy size

The parts run one after another, the most important first, each in a process of its own that has a
time limit. What a part found is written as soon as it is done, so a machine that goes away loses
the rest only. What is to be true is in `checks`; the exit status is 1 if anything of it is not.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import torch
import typer
from torchvision import datasets

from benchmarks.machine import describe
from helpers import data, device, evaluation, models, training
from helpers.data import Splits
from helpers.files import PROJECT, write_atomic
from helpers.training import Execution, Recipe

SEEDS = range(3)
LAPTOP = 8e9  # bytes of memory that a small card has
QUIET = Execution(progress=False)


@dataclass(frozen=True)
class Setting:
    """Where a part runs: on an accelerator, or at toy size on the CPU."""

    device: torch.device
    toy: bool = False

    def splits(self, name: str) -> Splits:
        splits = data.load_splits(name)
        if not self.toy:
            return splits
        return replace(
            splits, train=splits.train[:384], validation=splits.validation[:96],
            test=splits.test[:96],
        )  # fmt: skip

    def recipe(self, name: str, dataset: str, **changes: Any) -> Recipe:
        toy = {"epochs": 1, "train_images": None} if self.toy else {}
        return replace(training.find_recipe(name, dataset), **{**toy, **changes})

    def wait(self) -> float:
        """The time when the device has done all that it was given."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()

    def train(self, recipe: Recipe, splits: Splits, **options: Any) -> tuple[torch.nn.Module, dict]:
        """A trained model; its seconds, and its accuracy on validation, which may choose."""
        start = self.wait()
        model, history = training.train(
            recipe, splits, device=self.device, **{"execution": QUIET, **options}
        )
        seconds = self.wait() - start
        accuracy = evaluation.accuracy(evaluation.predict(model, splits.validation))
        epochs = [record.seconds for record in history.epochs]
        return model, {"seconds": seconds, "validation": accuracy, "last epoch": epochs[-1]}


def hardware(setting: Setting) -> dict[str, Any]:
    """Names and versions; the rate of matrix products in each format, and of copies in memory."""
    found: dict[str, Any] = {"device": device.describe(setting.device)} | describe(1)
    if setting.device.type == "cuda":
        properties = torch.cuda.get_device_properties(setting.device)
        found |= {"memory, GB": properties.total_memory / 1e9, "cuda": torch.version.cuda}
        asked = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        found["driver"] = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    size = 256 if setting.toy else 8192
    for name in ("float32", "tf32", "bfloat16", "float16"):
        kind = training.PRECISIONS.get(name, torch.float32)
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        left, right = torch.randn(2, size, size, device=setting.device).to(kind)
        seconds = _median_seconds(setting, lambda left=left, right=right: left @ right)
        found[f"{name}, billion operations a second"] = 2 * size**3 / seconds / 1e9
    block = torch.empty(size * size * 4, device=setting.device)
    seconds = _median_seconds(setting, block.clone)
    found["copies, GB a second"] = 2 * block.nbytes / seconds / 1e9
    return found


def _median_seconds(setting: Setting, work: Callable[[], object], times: int = 10) -> float:
    work()
    marks = [setting.wait()]
    for _ in range(times):
        work()
        marks.append(setting.wait())
    return statistics.median(after - before for before, after in pairwise(marks))


def parity(setting: Setting) -> dict[str, Any]:
    """Do both devices predict the same, cut the same batches, and learn equally well?"""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    checks, found = {}, {}
    for name in models.list_pretrained():
        test = setting.splits(name.split("/")[0]).test
        model = models.load_pretrained(name)
        here = evaluation.predict(model, test)
        there = evaluation.predict(model.to(setting.device), test)
        apart = (here.logits - there.logits.cpu()).abs().max().item()
        accuracies = evaluation.accuracy(here), evaluation.accuracy(there)
        found[name] = {"logits apart": apart, "accuracies": accuracies}
        checks[f"{name} predicts the same"] = (
            apart < 1e-3 and abs(accuracies[0] - accuracies[1]) <= 2e-4
        )
    splits = setting.splits("mnist")
    orders = [
        [targets.cpu() for _, targets in data.batches(split, 96, generator=seeded())]
        for split in (splits.train, splits.train.to(setting.device))
    ]
    checks["the same batches"] = all(map(torch.equal, *orders))
    learned: dict[str, list[float]] = {}
    for place in (Setting(torch.device("cpu"), setting.toy), setting):
        learned[place.device.type] = [
            place.train(setting.recipe("fast", "mnist", precision="float32"), splits, seed=seed)[1][
                "validation"
            ]
            for seed in SEEDS
        ]
    here, there = learned["cpu"], learned[setting.device.type]
    spread = statistics.stdev(here) + statistics.stdev(there) + 1e-3
    apart = abs(statistics.mean(here) - statistics.mean(there))
    checks["both learn equally well"] = apart <= 2 * spread
    return {"checks": checks, "shipped": found, "fast on MNIST, validation": learned}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class _PulledPlug(Exception):
    """Ends a training in the middle of an epoch."""


def resume(setting: Setting) -> dict[str, Any]:
    """Is a training repeatable, does one that was stopped end with the same weights, and at what
    cost? Are weights and trainings at home on either device?
    """
    splits, recipe = setting.splits("mnist"), setting.recipe("fast", "mnist", epochs=2)
    recipe = replace(recipe, augmentation=data.Augmentation(shift=1))
    checks, found = {}, {}
    training.resume.SAVE_EVERY = 0.2
    with tempfile.TemporaryDirectory() as scratch:
        for exact in (True, False):
            torch.use_deterministic_algorithms(exact)
            kind = "deterministic" if exact else "as it comes"
            model, first = setting.train(recipe, splits)
            again, second = setting.train(recipe, splits)
            found[f"{kind}, seconds"] = min(first["seconds"], second["seconds"])
            folder = Path(scratch) / kind
            try:
                _stopped(setting, recipe, splits, folder)
            except _PulledPlug:
                resumed, _ = setting.train(recipe, splits, checkpoint=folder)
            same = {"twice the same weights": again, "resumed with the same weights": resumed}
            for words, other in same.items():
                checks[f"{words}, {kind}"] = _equal(model, other)
        torch.use_deterministic_algorithms(False)
        elsewhere = models.load(
            models.save(model, Path(scratch) / "w.safetensors", dataset="mnist")
        )
        checks["weights load on the CPU"] = _equal(elsewhere, model.cpu())
        checks["and from there on the device"] = _equal(elsewhere.to(setting.device), model)
        try:
            training.train(recipe, splits, device=torch.device("cpu"), checkpoint=folder)
            message = ""
        except training.ResumeError as error:
            message = str(error)
        if setting.device.type != "cpu":
            checks["another device is refused in words"] = "device is" in message
    # what need not hold without deterministic algorithms
    found |= {words: checks.pop(words) for words in list(checks) if words.endswith("as it comes")}
    return {"checks": checks} | found


def _stopped(setting: Setting, recipe: Recipe, splits: Splits, folder: Path) -> None:
    """A training that is stopped in its second epoch."""
    steps, cut = len(splits.train) // recipe.batch_size, data.batches
    epochs = []

    def failing(*arguments: Any, **options: Any) -> Any:
        epochs.append(len(epochs))
        batches = cut(*arguments, **options)
        yield from batches if len(epochs) == 1 else islice(batches, steps // 2)
        if len(epochs) == 2:
            raise _PulledPlug

    data.batches = failing
    try:
        setting.train(recipe, splits, checkpoint=folder)
    finally:
        data.batches = cut


def _equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in pairs)


def memory(setting: Setting) -> dict[str, Any]:
    """Does the largest recipe fit into a small card, and what is said when the memory is full?"""
    splits = setting.splits("fashion_mnist")
    recipe = setting.recipe("accurate", "fashion_mnist", epochs=1, train_on_validation=False)
    checks, found = {}, {}
    some = replace(splits, train=splits.train[:4096])
    with tempfile.TemporaryDirectory() as scratch:
        if setting.device.type == "cuda":
            total = torch.cuda.get_device_properties(setting.device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, LAPTOP / total))
        setting.train(recipe, some, checkpoint=Path(scratch))
        kept = sorted(path.name for path in Path(scratch).iterdir())
        if setting.device.type == "cuda":
            found["largest use, GB"] = torch.cuda.max_memory_allocated() / 1e9
            checks["accurate fits into 8 GB"] = found["largest use, GB"] < LAPTOP / 1e9
            huge = replace(recipe, batch_size=len(splits.train))
            try:
                setting.train(huge, splits, checkpoint=Path(scratch) / "huge")
            except training.OutOfMemoryError as error:
                found["message"] = str(error)
            checks["a full memory names the batch size"] = (
                f"batch_size={huge.batch_size}" in found.get("message", "")
            )
        checks["the checkpoint is intact"] = kept == sorted(
            path.name for path in Path(scratch).iterdir() if path.is_file()
        )
    try:
        setting.train(replace(recipe, learning_rate=1e30, precision="float32"), some)
    except training.NonFiniteLossError as error:
        checks["a loss of nan is refused"] = "tenth of the learning rate" in str(error)
    return {"checks": {"a loss of nan is refused": False} | checks} | found


def precisions(setting: Setting) -> dict[str, Any]:
    """Accuracy and seconds of `fast` in each format."""
    splits, found = setting.splits("fashion_mnist"), {}
    recipe = setting.recipe("fast", "fashion_mnist")
    for name in ("float32", "tf32", "bfloat16", "float16"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
        format_of = replace(recipe, precision="float32" if name == "tf32" else name)
        runs = [setting.train(format_of, splits, seed=seed)[1] for seed in SEEDS]
        found[name] = _summary(runs)
    return found


def execution(setting: Setting) -> dict[str, Any]:
    """The seconds of `fast` with either memory layout, compiled, and replayed as CUDA graphs."""
    splits, recipe = setting.splits("mnist"), setting.recipe("fast", "mnist")
    compiled = replace(QUIET, compile=True)
    graphs = partial(torch.compile, mode="reduce-overhead")  # torch's name for CUDA graphs
    ways = {
        "channels last": (QUIET, nullcontext()),
        "channels first": (
            QUIET, mock.patch.object(torch, "channels_last", torch.contiguous_format)
        ),
        "compiled": (compiled, nullcontext()),
        "compiled to CUDA graphs": (compiled, mock.patch.object(torch, "compile", graphs)),
    }  # fmt: skip
    if setting.toy:  # compilation takes half a minute on a CPU
        ways = {name: way for name, way in ways.items() if "compiled" not in name}
    found = {}
    for name, (how, patched) in ways.items():
        torch.compiler.reset()
        with patched:
            runs = [setting.train(recipe, splits, seed=seed, execution=how)[1] for seed in SEEDS]
        found[name] = _summary(runs) | {"first, seconds": runs[0]["seconds"]}
    return found


def _summary(runs: list[dict]) -> dict[str, float]:
    accuracies = [run["validation"] for run in runs]
    return {
        "validation": statistics.mean(accuracies), "deviation": statistics.stdev(accuracies),
        "seconds": statistics.median(run["seconds"] for run in runs),
        "last epoch, seconds": statistics.median(run["last epoch"] for run in runs),
    }  # fmt: skip


def speed(setting: Setting) -> dict[str, Any]:
    """Seconds of the recipes, the first time and again; and a grid, from which a recipe for GPUs
    can be chosen on validation.
    """
    found: dict[str, Any] = {}
    for dataset in data.SPECS:
        splits = setting.splits(dataset)
        for name in ("sprint", "fast", "compact"):
            runs = [setting.train(setting.recipe(name, dataset), splits)[1] for _ in range(2)]
            found[f"{name}, {dataset}"] = {"first": runs[0], "again": runs[1]}
        for batch_size in (256, 512, 1024)[: 1 if setting.toy else None]:
            for rate in (0.4, 0.8)[: 1 if setting.toy else None]:
                recipe = setting.recipe(
                    "fast", dataset, batch_size=min(batch_size, len(splits.train)),
                    learning_rate=rate, epochs=3, train_images=None,
                )  # fmt: skip
                runs = [setting.train(recipe, splits, seed=seed)[1] for seed in SEEDS]
                found[f"fast, {dataset}, batches of {batch_size}, rate {rate}"] = _summary(runs)
    return found


def processes(setting: Setting) -> dict[str, Any]:
    """One process under torchrun, over NCCL on CUDA, and two over gloo on the CPU."""
    checks, found = {}, {}
    for count, where in ((1, setting.device.type), (2, "cpu")):
        with tempfile.TemporaryDirectory() as root:
            command = [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *(f"--nproc-per-node={count}", "-m", "helpers", "train", "mnist"),
                *("--recipe", "sprint", "--device", where, "--root", root),
            ]
            start = time.perf_counter()
            done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
            records = [json.loads(path.read_text()) for path in Path(root).rglob("result.json")]
            accuracies = [record["measured"]["test_accuracy"] for record in records]
            name = f"{count} on {where}"
            checks[name] = done.returncode == 0 and len(records) == 1 and accuracies[0] > 0.97
            found[name] = {"seconds": time.perf_counter() - start, "test": accuracies}
            if done.returncode:
                found[name]["errors"] = done.stderr[:2000]
    return {"checks": checks} | found


def profile(setting: Setting) -> dict[str, Any]:
    """Images a second of `fast`, the share of the matrix rate, and the ten longest kernels."""
    found: dict[str, Any] = {}
    for dataset in data.SPECS:
        splits = setting.splits(dataset)
        recipe = setting.recipe("fast", dataset, epochs=1)
        setting.train(recipe, splits)  # warm
        with torch.profiler.profile() as profiled:
            _, run = setting.train(recipe, splits)
        of_device = "device" if setting.device.type != "cpu" else "cpu"
        times = {
            event.key[:80]: getattr(event, f"self_{of_device}_time_total")
            for event in profiled.key_averages()
        }
        longest = sorted(times.items(), key=lambda item: -item[1])[:10]
        _, run = setting.train(recipe, splits)
        images = len(recipe.training_split(splits)) / run["seconds"]
        operations = 3 * evaluation.count_flops(recipe.build(splits.spec)) * images
        found[dataset] = {
            "images a second": images, "billion operations a second": operations / 1e9,
            "kernels, microseconds": dict(longest),
        }  # fmt: skip
    return found


def peers(setting: Setting) -> dict[str, Any]:
    """Seconds of two other programs to the targets of the race, on the same device."""
    found: dict[str, Any] = {}
    if setting.toy:
        return {"left out": "they have no toy size"}
    for spec in data.SPECS.values():
        getattr(datasets, spec.folder)(PROJECT / "data", download=True)  # unpacks what is there
    for script, dataset, target in (
        ("torch_example.py", "mnist", 0.99), ("course_loop.py", "fashion_mnist", 0.88),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            laps = Path(scratch) / "laps.json"
            command = [
                sys.executable, PROJECT / "benchmarks" / "contestants" / script, dataset,
                "--target", target, "--limit", 40, "--device", setting.device.type, "--out", laps,
            ]  # fmt: skip
            subprocess.run([str(word) for word in command], cwd=PROJECT, check=True)
            found[f"{script}, {dataset}, {target}"] = json.loads(laps.read_text())
    return found


def frontier(setting: Setting) -> dict[str, Any]:
    """Larger networks than a CPU trains in an hour, judged on validation only."""
    splits = setting.splits("fashion_mnist")
    base = setting.recipe("accurate", "fashion_mnist", train_on_validation=False)
    found = {}
    for name, network in {"272k": (16, (3, 3, 3)), "696k": (32, (2, 2, 2))}.items():
        width, blocks = network
        recipe = replace(
            base, model="resnet", model_kwargs={"width": width, "blocks": blocks},
            epochs=1 if setting.toy else 30,
        )  # fmt: skip
        found[name] = setting.train(recipe, splits)[1]
    return found


# the functions and their time limits in seconds, the most important first: 480 in all
PARTS: dict[str, tuple[Callable[[Setting], dict[str, Any]], int]] = {
    "hardware": (hardware, 30), "parity": (parity, 80), "resume": (resume, 50),
    "memory": (memory, 40), "precisions": (precisions, 70), "speed": (speed, 70),
    "execution": (execution, 60), "processes": (processes, 50), "profile": (profile, 30),
    "peers": (peers, 100), "frontier": (frontier, 120),
}  # fmt: skip
TOTAL = 480  # seconds


def main(
    out: Annotated[Path, typer.Option(help="The folder for a file of each part.")] = Path(
        "runs/gpu"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Names of parts; all by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="On the CPU, at toy size.")] = False,
    here: Annotated[bool, typer.Option("--here", help="In this process, without a limit.")] = False,
) -> None:
    """Run the parts, and say what was found."""
    chosen = torch.device("cpu") if dry_run else device.choose()
    if chosen.type == "cpu" and not dry_run:
        typer.echo("There is no GPU here. --dry-run tries every part on the CPU.", err=True)
        raise typer.Exit(2)
    bad, start = [], time.perf_counter()
    for name in only or PARTS:
        part, limit = PARTS[name]
        if here:
            found = part(Setting(chosen, dry_run))
            write_atomic(out / f"{name}.json", json.dumps(found, indent=1) + "\n")
        else:
            left = TOTAL - (time.perf_counter() - start)
            # a busy CPU may take its time
            found = _in_a_process(name, out, dry_run, TOTAL if dry_run else min(limit, left))
        failed = [words for words, holds in found.get("checks", {}).items() if not holds]
        bad += [name] * bool(failed or "error" in found)
        typer.echo(f"{name}: {'; '.join(failed) or found.get('error', 'good')}")
    raise typer.Exit(int(bool(bad)))


def _in_a_process(name: str, out: Path, dry_run: bool, limit: float) -> dict[str, Any]:
    """What a part wrote, or how it ended."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--here", "--only", name, "--out", str(out)]
    # deterministic matrix products need the first; a bare machine shows no bars
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "TQDM_DISABLE": "1"}
    try:
        done = subprocess.run(
            command + ["--dry-run"] * dry_run, cwd=PROJECT, env=environment, timeout=max(limit, 1),
            capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit:.0f} seconds"}
    path = out / f"{name}.json"
    if done.returncode not in (0, 1) or not path.exists():
        return {"error": f"status {done.returncode}: {done.stderr[-1500:]}"}
    return json.loads(path.read_text())


if __name__ == "__main__":
    typer.run(main)
