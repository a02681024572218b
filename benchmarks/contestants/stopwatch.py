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
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, StepLR
from torch.utils.data import Dataset, Subset
from torchvision import datasets, transforms

from helpers.data import SPECS
from helpers.files import PROJECT

PREPARED = PROJECT / "benchmarks" / "prepared"
HELD_OUT = 55_000  # with --validate, the training images from this one on replace the test images


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
        # instead of a program's own settings
        parser.add_argument("--batch-size", type=int)
        parser.add_argument("--epochs", type=int)
        parser.add_argument("--rate", type=float, help="maximum of a one-cycle schedule")
        parser.add_argument("--bfloat16", action="store_true", help="not for fastai and skorch")
        parser.add_argument("--validate", action="store_true", help="hold out training images")
        self.options = parser.parse_args()
        self.device = torch.device(self.options.device)
        self.dataset, self.seed = self.options.dataset, self.options.seed
        self.laps: list[tuple[float, float]] = []
        torch.set_num_threads(self.options.threads)
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
        if accuracy >= self.options.target:
            self.finish("target")
            sys.exit(0)
        if seconds >= self.options.limit:
            self.finish("limit")
            sys.exit(0)

    def finish(self, reason: str = "epochs") -> None:
        """Write the laps, and whether target, time limit or epochs ended the program."""
        if self.options.out is not None:
            self.options.out.write_text(json.dumps({"ended": reason, "laps": self.laps}))

    def schedule(
        self, optimizer: torch.optim.Optimizer, epochs: int, steps: int, gamma: float = 1.0
    ) -> LRScheduler:
        """A schedule that steps after each batch; an epoch has `steps` of them.

        One-cycle with the maximum --rate; without it, the rate is multiplied by `gamma` after each
        epoch.
        """
        if self.options.rate is None:
            return StepLR(optimizer, steps, gamma)
        rate, total = self.options.rate, epochs * steps
        return OneCycleLR(optimizer, rate, total_steps=total, cycle_momentum=False)

    def interval(self, epochs: int) -> int:
        """Evaluate every so many epochs: only at the end of a one-cycle schedule."""
        return 1 if self.options.rate is None else epochs

    def autocast(self) -> torch.autocast:
        """Computes in bfloat16 with --bfloat16; else it changes nothing."""
        enabled = self.options.bfloat16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def torchvision_splits(self, *, normalize: bool) -> tuple[Dataset, Dataset]:
        """The splits to train and to evaluate on, as torchvision has them: image by image, in
        [0, 1] before `normalize`.
        """
        spec = SPECS[self.dataset]
        steps: list[object] = [transforms.ToTensor()]
        steps += normalize * [transforms.Normalize((spec.mean,), (spec.std,))]
        kind, transform = getattr(datasets, spec.folder), transforms.Compose(steps)
        train, test = (kind(PROJECT / "data", train=t, transform=transform) for t in (True, False))
        if not self.options.validate:
            return train, test
        return Subset(train, range(HELD_OUT)), Subset(train, range(HELD_OUT, len(train)))

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Images uint8 (N, 28, 28) and targets int64 (N,), to train and to evaluate on.

        From one .npz file, as in Keras.
        """
        with np.load(PREPARED / f"{self.dataset}.npz") as file:
            images, targets = file["x_train"], file["y_train"]
            if not self.options.validate:
                return images, targets, file["x_test"], file["y_test"]
        return images[:HELD_OUT], targets[:HELD_OUT], images[HELD_OUT:], targets[HELD_OUT:]
