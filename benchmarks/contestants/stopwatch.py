"""The clock and the command-line options of every contestant.

    python course_loop.py mnist --seed 0 --target 0.99 --limit 300 --threads 2 --out laps.json

The clock starts at the first line after the imports, so loading the data counts. Each lap is an
evaluation on the 10,000 test images, and its time counts as well. The device is the CPU, unless
benchmarks/gpu.py passes another to the programs that support --device.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # the first optimizer would import it, which takes a second
from torchvision import datasets, transforms

from helpers.data import SPECS
from helpers.files import PROJECT

PREPARED = PROJECT / "benchmarks" / "prepared"


class Stopwatch:
    """Times the evaluations; ends the program at the target or the time limit."""

    def __init__(self) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("dataset", choices=list(SPECS))
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--target", type=float, default=1.0)
        parser.add_argument("--limit", type=float, default=600.0)
        parser.add_argument("--threads", type=int, default=2)
        parser.add_argument("--recipe", default="fast", help="for ours.py only")
        parser.add_argument("--precision", default="auto", help="for ours.py only")
        parser.add_argument("--device", default="cpu", help="for course_loop, torch_example")
        parser.add_argument("--out", type=Path, default=None)
        self.told = parser.parse_args()
        self.device = torch.device(self.told.device)
        self.dataset, self.seed = self.told.dataset, self.told.seed
        self.laps: list[tuple[float, float]] = []
        torch.set_num_threads(self.told.threads)
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002 - the peers draw from it
        torch.manual_seed(self.seed)
        self.start = time.perf_counter()

    def lap(self, accuracy: float) -> None:
        """Record `accuracy`, a fraction in [0, 1] of the test images."""
        seconds = time.perf_counter() - self.start
        accuracy = round(accuracy, 4)  # of 10,000 images; some of the peers compute it in float32
        self.laps.append((seconds, accuracy))
        sys.stderr.write(f"    {seconds:7.1f} s  {accuracy:.2%}\n")
        if accuracy >= self.told.target:
            self.finish("target")
            sys.exit(0)
        if seconds >= self.told.limit:
            self.finish("limit")
            sys.exit(0)

    def finish(self, reason: str = "epochs") -> None:
        """Write the laps, and whether target, time limit or epochs ended the program."""
        if self.told.out is not None:
            self.told.out.write_text(json.dumps({"ended": reason, "laps": self.laps}))


def torchvision_splits(dataset: str, *, normalize: bool) -> tuple:
    """Training and test split of torchvision: image by image, in [0, 1] before `normalize`."""
    spec = SPECS[dataset]
    steps = [transforms.ToTensor()] + normalize * [transforms.Normalize((spec.mean,), (spec.std,))]
    kind, transform = getattr(datasets, spec.folder), transforms.Compose(steps)
    root = PROJECT / "data"
    return (
        kind(root, train=True, transform=transform),
        kind(root, train=False, transform=transform),
    )


def arrays(dataset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (N, 28, 28) and targets int64 (N,), for training and for the test.

    From one .npz file, as in Keras.
    """
    with np.load(PREPARED / f"{dataset}.npz") as file:
        return file["x_train"], file["y_train"], file["x_test"], file["y_test"]
