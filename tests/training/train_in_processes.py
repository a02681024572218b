"""The training that test_distributed.py runs in several processes.

torchrun --nproc-per-node=2 -m tests.training.train_in_processes FOLDER
torchrun --nproc-per-node=2 -m tests.training.train_in_processes FOLDER lives
torchrun --nproc-per-node=2 --max-restarts=3 -m tests.training.train_in_processes FOLDER dies
"""

import gc
import itertools
import os
import signal
import sys
import weakref
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

from helpers import data, evaluation, training
from helpers.data import Augmentation, Splits
from helpers.training import SINGLE_PROCESS, Execution, Recipe, SingleProcess, resume
from tests.halves import images

KINDS = ("tiny_vgg", "mlp")  # networks without batch normalization
KILLS = ((1, 2), (0, 3), (1, 4))  # at each start: the rank that is killed, and before which step


def train(
    kind: str, group: SingleProcess = SINGLE_PROCESS, checkpoint: Path | None = None, **changes
) -> tuple[torch.nn.Module, list]:
    """One epoch over 70 images in batches of 16: the last has 6, which 4 cannot shard evenly."""
    split = images(70)
    settings = {
        "model": kind, "epochs": 1, "batch_size": 16,
        "learning_rate": 0.05, "one_cycle": False, "weight_decay": 5e-4, "label_smoothing": 0.1,
        "augmentation": Augmentation(shift=1), "precision": "float32",
    }  # fmt: skip
    recipe = Recipe(**{**settings, **changes}, source="", measured="")
    splits = Splits(split, split[:21], split, data.MNIST)
    model, history = training.train(
        recipe,
        splits,
        device=torch.device("cpu"),
        execution=Execution(progress=False, process_group=group),
        checkpoint=checkpoint,
    )
    return model, history.epochs


def main(folder: Path) -> None:
    """Train each kind of network; save weights, records and predictions of each rank."""
    with training.join_process_group("cpu") as (group, _):
        of_torch = weakref.ref(dist.group.WORLD)
        for kind in KINDS:
            model, epochs = train(kind, group)
            predictions = group.predict(model, images(23))
            few = group.predict(model, images(1))
            kept = {
                "weights": model.state_dict(),
                "epochs": [(e.train_loss, e.train_accuracy, e.validation_loss) for e in epochs],
                "logits": predictions.logits,
                "few": few.logits,
                "expected": evaluation.predict(model, images(23)).logits,
            }
            torch.save(kept, folder / f"{kind}-{group.rank}-of-{group.size}.pt")
    gc.collect()
    if of_torch() is not None:
        raise RuntimeError("The process group of torch is kept: its threads may abort the process.")


def train_and_die(folder: Path, kills: tuple[tuple[int, int], ...]) -> None:
    """Save each step; at each start, a rank kills itself as `kills` says, if it has an entry."""
    resume.SAVE_EVERY = 0
    restart, batches = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), data.batches
    steps = itertools.count()  # batches that are skipped after a restart count as well

    def killing(*arguments, **options):
        for batch in batches(*arguments, **options):
            if (group.rank, next(steps)) in kills[restart : restart + 1]:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    with (
        training.join_process_group("cpu") as (group, _),
        mock.patch.object(data, "batches", killing),
    ):
        found = sorted(path.name for path in (folder / "kept").glob("*.pt"))
        (folder / f"found-{restart}-{group.rank}").write_text("".join(found[-1:]))
        model, (epoch,) = train("tiny_vgg", group, folder / "kept")
    kept = {"weights": model.state_dict(), "loss": epoch.train_loss}
    torch.save(kept, folder / f"ended-{group.rank}.pt")


if __name__ == "__main__":
    if sys.argv[2:]:
        train_and_die(Path(sys.argv[1]), {"lives": (), "dies": KILLS}[sys.argv[2]])
    else:
        main(Path(sys.argv[1]))
