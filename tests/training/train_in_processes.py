"""What several processes do together in test_distributed.py, started by torchrun.

torchrun --nproc-per-node=2 -m tests.together FOLDER
"""

import sys
from pathlib import Path

import torch

from helpers import data, evaluation, training
from helpers.data import Augmentation, Splits
from helpers.training import Recipe, SINGLE_PROCESS, SingleProcess
from tests.halves import images

KINDS = {
    "tiny_vgg": {},
    "fast_cnn": {"width": 8},
    "resnet": {"width": 8, "stride": 2},
}


def train(kind: str, ranks: SingleProcess = SINGLE_PROCESS, **changes) -> tuple[torch.nn.Module, list]:
    """One epoch over 70 images in batches of 16: the last has 6, which 4 cannot share evenly."""
    split = images(70)
    settings = {
        "model": kind, "settings": KINDS[kind], "epochs": 1, "batch_size": 16,
        "learning_rate": 0.05, "one_cycle": False, "weight_decay": 5e-4, "label_smoothing": 0.1,
        "average": 0.5, "augmentation": Augmentation(shift=1), "precision": "float32",
    }  # fmt: skip
    followed = Recipe(**{**settings, **changes}, source="", measured="")
    splits = Splits(split, split[:21], split, data.MNIST)
    model, history = training.train(
        followed, splits, where=torch.device("cpu"), progress=False, ranks=ranks
    )
    return model, history.epochs


def main(folder: Path) -> None:
    """Train each kind of network, and leave weights, records and predictions of each rank."""
    with training.join_process_group("cpu") as (ranks, _):
        for kind in KINDS:
            model, epochs = train(kind, ranks)
            said = ranks.predict(model, images(23))
            few = ranks.predict(model, images(1))
            kept = {
                "weights": model.state_dict(),
                "epochs": [(e.train_loss, e.train_accuracy, e.validation_loss) for e in epochs],
                "logits": said.logits,
                "few": few.logits,
                "expected": evaluation.predict(model, images(23)).logits,
            }
            torch.save(kept, folder / f"{kind}-{ranks.rank}-of-{ranks.size}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
