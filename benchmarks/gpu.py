"""Check and measure training on a GPU: one command, one results file.

    make gpu                                                # at most eight minutes, on one GPU
    python -m benchmarks.gpu --out FOLDER --only parity     # one part
    python -m benchmarks.gpu --out FOLDER --dry-run         # each part on the CPU, at toy size

The parts run in order of importance, each in its own process with a time limit. When a part ends,
its results are written to `gpu.json`, so a lost machine loses only the later parts. A part that
fails or runs out of time keeps what it had found. `checks` holds the conditions to be met; the exit
status is 1 if one is not, or a part fails.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import psutil
import torch
import typer
from torchvision import datasets

from benchmarks.machine import describe
from helpers import data, device, evaluation, models, training
from helpers.data import Splits
from helpers.files import PROJECT, write_atomic
from helpers.training import Execution, Recipe

SEEDS = range(3)
LAPTOP = 8e9  # bytes, the memory of a small GPU
QUIET = Execution(progress=False)


@dataclass(frozen=True)
class Setting:
    """Where a part runs: on an accelerator, or at toy size on the CPU."""

    device: torch.device
    toy: bool = False
    out: Path | None = None  # the results file

    def keep(self, found: dict[str, Any]) -> None:
        """Write the results so far, marked as unfinished until the part is done."""
        if self.out is not None:
            write_atomic(self.out, json.dumps(found | {"error": "unfinished"}))

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
        """Synchronize with the device, and return the time."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()

    def train(self, recipe: Recipe, splits: Splits, **options: Any) -> tuple[torch.nn.Module, dict]:
        """A trained model, and its seconds and validation accuracy."""
        start = self.wait()
        model, history = training.train(
            recipe, splits, device=self.device, **{"execution": QUIET, **options}
        )
        seconds = self.wait() - start
        accuracy = evaluation.accuracy(evaluation.predict(model, splits.validation))
        epochs = [record.seconds for record in history.epochs]
        return model, {"seconds": seconds, "validation": accuracy, "last epoch": epochs[-1]}


def hardware(setting: Setting) -> dict[str, Any]:
    """Names and versions; the rate of matrix products in each format, and of memory copies."""
    found: dict[str, Any] = {"device": device.describe(setting.device)} | describe(1)
    if setting.device.type == "cuda":
        properties = torch.cuda.get_device_properties(setting.device)
        found |= {"memory, GB": properties.total_memory / 1e9, "cuda": torch.version.cuda}
        asked = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        if shutil.which(asked[0]):
            found["driver"] = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    size = 256 if setting.toy else 8192
    for name in ("float32", "tf32", "bfloat16", "float16"):
        kind = training.PRECISIONS.get(name, torch.float32)
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        left, right = torch.randn(2, size, size, device=setting.device).to(kind)
        seconds = _median_seconds(setting, lambda left=left, right=right: left @ right)
        found[f"{name}, billion operations a second"] = 2 * size**3 / seconds / 1e9
        setting.keep(found)
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
    """Check that predictions, batches and validation accuracy are as on the CPU."""
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
        setting.keep({"checks": checks, "shipped": found})
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
    """Check that trainings are repeatable, that resumed ones end with the same weights, and that
    weights load on either device. Time deterministic algorithms.
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
            setting.keep({"checks": checks} | found)
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
    # these need not hold without deterministic algorithms
    found |= {words: checks.pop(words) for words in list(checks) if words.endswith("as it comes")}
    return {"checks": checks} | found


def _stopped(setting: Setting, recipe: Recipe, splits: Splits, folder: Path) -> None:
    """Stop a training in its second epoch."""
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
    """Check that the largest recipe fits a small GPU, and the errors for full memory and nan."""
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
            own = 0.5e9  # about what CUDA itself takes
            found["largest use, GB"] = (torch.cuda.max_memory_reserved() + own) / 1e9
            checks["accurate fits into 8 GB"] = found["largest use, GB"] < LAPTOP / 1e9
            setting.keep({"checks": checks} | found)
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
    formats = ["float32", "tf32", "bfloat16", "float16"]
    for name in formats[:3] if setting.device.type == "mps" else formats:  # MPS lacks loss scaling
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
        format_of = replace(recipe, precision="float32" if name == "tf32" else name)
        runs = [setting.train(format_of, splits, seed=seed)[1] for seed in SEEDS]
        found[name] = _summary(runs)
        setting.keep(found)
    return found


def execution(setting: Setting) -> dict[str, Any]:
    """The seconds of `fast` in either memory layout, compiled, and compiled to CUDA graphs."""
    splits, recipe = setting.splits("mnist"), setting.recipe("fast", "mnist")
    if not setting.toy:  # whole batches only: a smaller one would be compiled as well
        whole = len(splits.train) // recipe.batch_size * recipe.batch_size
        recipe = replace(recipe, train_images=whole)
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
        setting.keep(found)
    return found


def _summary(runs: list[dict]) -> dict[str, float]:
    accuracies = [run["validation"] for run in runs]
    return {
        "validation": statistics.mean(accuracies), "deviation": statistics.stdev(accuracies),
        "seconds": statistics.median(run["seconds"] for run in runs),
        "last epoch, seconds": statistics.median(run["last epoch"] for run in runs),
    }  # fmt: skip


def speed(setting: Setting) -> dict[str, Any]:
    """Seconds of the recipes, the first time and again (`compact`: two epochs), and a grid of batch
    sizes and rates, to choose a recipe for GPUs on validation.
    """
    found: dict[str, Any] = {}
    for dataset in data.SPECS:
        splits = setting.splits(dataset)
        for name, changes in {"sprint": {}, "fast": {}, "compact": {"epochs": 2}}.items():
            recipe = setting.recipe(name, dataset, **changes)
            runs = [setting.train(recipe, splits)[1] for _ in range(2)]
            found[f"{name}, {dataset}"] = {"first": runs[0], "again": runs[1]}
            setting.keep(found)
        for batch_size in (256, 512, 1024)[: 1 if setting.toy else None]:
            for rate in (0.4, 0.8)[: 1 if setting.toy else None]:
                recipe = setting.recipe(
                    "fast", dataset, batch_size=min(batch_size, len(splits.train)),
                    learning_rate=rate, epochs=3, train_images=None,
                )  # fmt: skip
                runs = [setting.train(recipe, splits, seed=seed)[1] for seed in SEEDS]
                found[f"fast, {dataset}, batches of {batch_size}, rate {rate}"] = _summary(runs)
                setting.keep(found)
    return found


def processes(setting: Setting) -> dict[str, Any]:
    """One process under torchrun, over NCCL on CUDA, and two over gloo on the CPU."""
    checks, found = {}, {}
    one = setting.device.type if setting.device.type in ("cuda", "xpu") else "cpu"
    # loopback, because the machine's own name may not resolve
    here = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "NCCL_DEBUG": "WARN"}
    for count, where in ((1, one), (2, "cpu")):
        with tempfile.TemporaryDirectory() as root:
            command = [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--local-addr=127.0.0.1", f"--nproc-per-node={count}"),
                *("-m", "helpers", "train", "mnist"),
                *("--recipe", "sprint", "--device", where, "--root", root),
            ]
            start = time.perf_counter()
            done = _quiet(command, os.environ | here, TOTAL if setting.toy else HANGS)
            records = [json.loads(path.read_text()) for path in Path(root).rglob("result.json")]
            accuracies = [record["measured"]["test_accuracy"] for record in records]
            name = f"{count} on {where}"
            checks[name] = done.returncode == 0 and len(records) == 1 and accuracies[0] > 0.97
            found[name] = {"seconds": time.perf_counter() - start, "test": accuracies}
            if done.returncode:  # the first error stands before torchrun's summary
                found[name]["errors"] = done.stderr[:1000] + " … " + done.stderr[-3000:]
            setting.keep({"checks": checks} | found)
    return {"checks": checks} | found


def _quiet(
    command: list[str], environment: dict[str, str], limit: float
) -> subprocess.CompletedProcess[str]:
    """Run a command for at most `limit` seconds; after a timeout its status is 124."""
    options: dict[str, Any] = {"cwd": PROJECT, "env": environment, "capture_output": True}
    try:
        return subprocess.run(command, text=True, timeout=limit, **options)
    except subprocess.TimeoutExpired as late:
        messages = (late.stderr or b"").decode(errors="replace")
        return subprocess.CompletedProcess(command, 124, "", f"{messages}\nIt hung.")


def profile(setting: Setting) -> dict[str, Any]:
    """Images and operations a second of `fast`, and the ten longest kernels."""
    found: dict[str, Any] = {}
    for dataset in data.SPECS:
        splits = setting.splits(dataset)
        recipe = setting.recipe("fast", dataset, epochs=1)
        _, run = [setting.train(recipe, splits)[1] for _ in range(2)]  # the first time is slower
        few = recipe if setting.toy else replace(recipe, train_images=40 * recipe.batch_size)
        with torch.profiler.profile() as profiled:
            setting.train(few, splits)
        images = len(recipe.training_split(splits)) / run["seconds"]
        operations = 3 * evaluation.count_flops(recipe.build(splits.spec)) * images
        found[dataset] = {
            "images a second": images, "billion operations a second": operations / 1e9,
            "kernels in 40 steps, microseconds": dict(_kernels(setting, profiled).most_common(10)),
        }  # fmt: skip
        setting.keep(found)
    return found


def _kernels(setting: Setting, profiled: torch.profiler.profile) -> Counter[str]:
    """The time of each kernel on the device, without the operators that launched it."""
    on_cpu, times = setting.device.type == "cpu", Counter[str]()
    for event in profiled.key_averages():
        is_kernel = not getattr(event, "is_user_annotation", False)
        if is_kernel and on_cpu == (event.device_type == torch.autograd.DeviceType.CPU):
            times[event.key[:80]] += getattr(
                event, f"self_{'cpu' if on_cpu else 'device'}_time_total"
            )
    return times


def peers(setting: Setting) -> dict[str, Any]:
    """Seconds of two other programs to targets of the race, on the same device."""
    found: dict[str, Any] = {}
    if setting.toy:
        return {"left out": "they have no toy size"}
    for spec in data.SPECS.values():
        getattr(datasets, spec.folder)(PROJECT / "data", download=True)  # unpacks the files
    for script, dataset, target in (
        ("torch_example.py", "mnist", 0.99), ("course_loop.py", "fashion_mnist", 0.88),
    ):  # fmt: skip
        with tempfile.TemporaryDirectory() as scratch:
            laps = Path(scratch) / "laps.json"
            command = [
                sys.executable, PROJECT / "benchmarks" / "contestants" / script, dataset,
                "--target", target, "--limit", 30, "--device", setting.device.type, "--out", laps,
            ]  # fmt: skip
            environment = os.environ | {"PYTHONPATH": str(PROJECT)}  # it may not be installed
            words = [str(word) for word in command]
            subprocess.run(words, cwd=PROJECT, env=environment, check=True)
            found[f"{script}, {dataset}, {target}"] = json.loads(laps.read_text())
            setting.keep(found)
    return found


def frontier(setting: Setting) -> dict[str, Any]:
    """Networks too large for an hour on a CPU, evaluated on validation only."""
    splits = setting.splits("fashion_mnist")
    base = setting.recipe("accurate", "fashion_mnist", train_on_validation=False)
    found = {}
    for name, network in {"272k": (16, (3, 3, 3)), "696k": (32, (2, 2, 2))}.items():
        width, blocks = network
        recipe = replace(
            base, model="resnet", model_kwargs={"width": width, "blocks": blocks},
            epochs=1 if setting.toy else 15,
        )  # fmt: skip
        found[name] = setting.train(recipe, splits)[1]
        setting.keep(found)
    return found


# functions and time limits in seconds, the most important first; the last two get the time left
PARTS: dict[str, tuple[Callable[[Setting], dict[str, Any]], int]] = {
    "hardware": (hardware, 40), "parity": (parity, 70), "resume": (resume, 40),
    "memory": (memory, 40), "precisions": (precisions, 50), "speed": (speed, 60),
    "execution": (execution, 60), "processes": (processes, 70), "profile": (profile, 40),
    "peers": (peers, 100), "frontier": (frontier, 120),
}  # fmt: skip
TOTAL = 470  # seconds, from the start of this process
HANGS = 33  # seconds: half of `processes`, less its start
LEAST = 15  # seconds: with less left, a part is not started


def main(
    out: Annotated[Path, typer.Option(help="Folder for gpu.json, the results file.")] = Path(
        "runs/gpu"
    ),
    only: Annotated[list[str] | None, typer.Option(help="Names of parts; all by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="On the CPU, at toy size.")] = False,
    here: Annotated[bool, typer.Option("--here", help="In this process, without a limit.")] = False,
) -> None:
    """Run the parts, and print which checks failed."""
    chosen = torch.device("cpu") if dry_run else device.choose()
    if chosen.type == "cpu" and not dry_run:
        typer.echo("There is no GPU here. --dry-run tries every part on the CPU.", err=True)
        raise typer.Exit(2)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic products
    if here:
        # full float32: by default, torch computes convolutions on CUDA in TF32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        for name in only or PARTS:
            place = out / f"{name}.json"
            write_atomic(place, json.dumps(PARTS[name][0](Setting(chosen, dry_run, place))))
        return
    path = out / "gpu.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in only or PARTS:
        left = TOTAL - _age()
        # a busy CPU may be slow
        limit = TOTAL if dry_run else min(PARTS[name][1], left)
        found[name] = {"error": "no time was left"}
        if limit >= LEAST:
            found[name] = _in_a_process(name, dry_run, limit)
        write_atomic(path, json.dumps(found, indent=1) + "\n")
        typer.echo(f"{name}: {'; '.join(_failed(found[name])) or 'good'}")
    raise typer.Exit(int(any(_failed(found[name]) for name in only or PARTS)))


def _age() -> float:
    """Seconds since the start of this process, including the import of torch."""
    return time.time() - psutil.Process().create_time()


def _failed(found: dict[str, Any]) -> list[str]:
    """The error of a part, then its failed checks."""
    errors = [found["error"]] if "error" in found else []
    return errors + [words for words, holds in found.get("checks", {}).items() if not holds]


def _in_a_process(name: str, dry_run: bool, limit: float) -> dict[str, Any]:
    """Run a part in its own process; its results, partial if it failed or timed out."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "benchmarks.gpu", "--here", "--only", name]
        command += ["--out", scratch] + ["--dry-run"] * dry_run
        return _limited(command, Path(scratch) / f"{name}.json", limit)


def _limited(command: list[str], path: Path, limit: float) -> dict[str, Any]:
    """What a command wrote to `path`, with `error` and the end of its messages if it failed."""
    environment = os.environ | {"TQDM_DISABLE": "1", "TYPER_STANDARD_TRACEBACK": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=log
        )
        try:
            ended = f"status {process.wait(limit)}"
        except subprocess.TimeoutExpired:
            ended = f"not done after {limit:.0f} seconds"
            part = psutil.Process(process.pid)
            for running in [part, *part.children(recursive=True)]:  # or they slow the next part
                with suppress(psutil.NoSuchProcess):  # it has already ended
                    running.kill()
            process.wait()
        found = json.loads(path.read_text()) if path.exists() else {"error": "nothing was found"}
        if "error" in found:
            log.seek(0)
            found |= {"error": ended, "messages": log.read()[-6000:]}
    return found


if __name__ == "__main__":
    typer.run(main)
